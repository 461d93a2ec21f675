//! The embedded adapter against the conformance suite, and what is its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use meshwork_eventstore::testing::{command, conformance};
use meshwork_eventstore::{
    AppendError, Commit, EventStore, Expected, Snapshot, SnapshotStore, SqliteEventStore, StoreError,
};
use meshwork_sql::Sqlite;

#[tokio::test]
async fn conforms() {
    for partitions in [1, 16] {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteEventStore::open(&folder.path().join("orders.db"), partitions).await.unwrap();
        conformance(Arc::new(store)).await;
    }
}

#[tokio::test]
async fn a_store_keeps_its_partitions_and_commits_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let appended = {
        let store = SqliteEventStore::open(&path, 4).await.unwrap();
        store.append(command("kept", Expected::NoStream, "a", 2)).await.unwrap()
    };
    let store = SqliteEventStore::open(&path, 16).await.unwrap();
    assert_eq!(store.partitions(), 4);
    assert_eq!(store.read("kept", 0).await.unwrap(), [appended.commit]);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_of_its_stream_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = SqliteEventStore::open(&path, 1).await.unwrap();
    store.append(command("damaged", Expected::NoStream, "a", 1)).await.unwrap();
    store.append(command("sound", Expected::NoStream, "a", 1)).await.unwrap();
    store.append(command("cut", Expected::NoStream, "a", 1)).await.unwrap();
    store.append(command("cut", Expected::Exact(1), "b", 1)).await.unwrap();
    Sqlite::open(&path, &[])
        .await
        .unwrap()
        .write_once::<_, meshwork_sql::Error, _>(|connection| {
            Box::pin(async move {
                sqlx::query("UPDATE commits SET command_hash = x'00' WHERE stream = 'damaged'")
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *connection).await?;
                sqlx::query("DELETE FROM commits WHERE stream = 'cut' AND first_version = 1")
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let error = store.read("cut", 0).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { problem, .. } if problem == "version 1 is missing"), "{error}");
    let error = store.read("damaged", 0).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { place, .. } if place == "damaged"), "{error}");
    assert_eq!(store.read("sound", 0).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mg_7_of_64_racing_writers_each_append_succeeds_once() {
    let full = std::env::var("MESHWORK_TEST_FULL").is_ok_and(|full| !full.is_empty());
    let appends = if full { 1_000 } else { 20 };
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteEventStore::open(&folder.path().join("raced.db"), 1).await.unwrap());
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut made, mut version) = (Vec::new(), 0);
                while made.len() < appends {
                    let id = format!("{writer}-{}", made.len());
                    match store.append(command("raced", Expected::Exact(version), &id, 1)).await {
                        Ok(appended) => {
                            version = appended.commit.version();
                            made.push(appended.commit);
                        }
                        Err(AppendError::VersionConflict { actual, .. }) => {
                            // A version learned before the wait would be another writer's past again after it.
                            tokio::time::sleep(Duration::from_millis(fastrand::u64(..100))).await;
                            let behind = store.read("raced", actual).await.unwrap();
                            version = behind.last().map_or(actual, Commit::version);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                made
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    acknowledged.sort_by_key(|commit| commit.position.n);
    assert_eq!(acknowledged.len(), 64 * appends);
    assert_eq!(store.read("raced", 0).await.unwrap(), acknowledged);
    for (at, commit) in (1..).zip(&acknowledged) {
        assert_eq!((commit.version(), commit.position.n), (at, at));
    }
}

#[tokio::test]
async fn e7_of_a_stream_s_snapshots_the_two_newest_of_a_shape_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = SqliteEventStore::open(&path, 1).await.unwrap();
    for (version, schema) in [(100, "a"), (200, "a"), (100, "b"), (300, "a"), (400, "a")] {
        let (stream, schema) = ("s".to_owned(), schema.to_owned());
        store.save(Snapshot { stream, version, schema, data: "x".into() }).await.unwrap();
    }
    let db = Sqlite::open(&path, &[]).await.unwrap();
    let kept = sqlx::query_as::<_, (String, i64)>("SELECT schema, version FROM snapshots ORDER BY 1, 2");
    let kept = kept.fetch_all(db.reader()).await.unwrap();
    let expected = [("a", 300), ("a", 400), ("b", 100)].map(|(schema, version)| (schema.to_owned(), version));
    assert_eq!(kept, expected);
    assert_eq!(store.latest("s", "a").await.unwrap().unwrap().version, 400);
}

//! The embedded adapter against the conformance suite, and what is its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use meshwork_eventstore::testing::{command, conformance};
use meshwork_eventstore::{
    AppendError, Commit, Context, Damage, EventStore, Expected, Snapshot, SnapshotStore, SqliteEventStore, StoreError,
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
    // Who follows the partition learns from which version on the stream has lost something.
    let followed = store.read_partition(0, 0, 1).await.unwrap();
    assert!(matches!(&followed[0].damage, Some(Damage { first_version: Some(1), .. })), "{followed:?}");
    assert_eq!(followed[0].stream, "damaged");
}

/// Has the rows as a release would write them that doesn't know of contexts, or somebody who has damaged one.
async fn put_context(path: &std::path::Path, stream: &'static str, context: &'static str) {
    let db = Sqlite::open(path, &[]).await.unwrap();
    let put = db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
        Box::pin(async move {
            let sql = format!("UPDATE commits SET context = {context} WHERE stream = ?");
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(stream).execute(connection).await?;
            Ok(())
        })
    });
    put.await.unwrap();
}

#[tokio::test]
async fn of_an_old_row_or_one_whose_context_is_damaged_nothing_is_known_and_nothing_else_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = SqliteEventStore::open(&path, 1).await.unwrap();
    for (stream, context) in [("old", "''"), ("cut", "'{\"actor\":'"), ("binary", "x'ff00'")] {
        let appended = store.append(command(stream, Expected::NoStream, "a", 1)).await.unwrap();
        assert_ne!(appended.commit.context, Context::default());
        put_context(&path, stream, context).await;
        let unknown = Commit { context: Context::default(), ..appended.commit };
        assert_eq!(store.read(stream, 0).await.unwrap(), [unknown], "{stream}");
    }
}

#[tokio::test]
async fn an_earlier_release_appends_beside_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let store = SqliteEventStore::open(&path, 1).await.unwrap();
    let inserted = Sqlite::open(&path, &[]).await.unwrap();
    let inserted = inserted.write_once::<_, meshwork_sql::Error, _>(|connection| {
        Box::pin(async move {
            sqlx::query(
                "INSERT INTO commits (stream, command_id, command_hash, partition, position, first_version, last_version, \
                 recorded_at, result) VALUES ('s', 'a', zeroblob(32), 0, 1, 1, 1, 0, x''); \
                 INSERT INTO events (partition, position, version, event_type, schema_version, data) \
                 VALUES (0, 1, 1, 'happened', 1, x'')",
            )
            .execute(connection)
            .await?;
            Ok(())
        })
    });
    inserted.await.unwrap();
    let read = store.read("s", 0).await.unwrap();
    assert_eq!((read.len(), &read[0].context), (1, &Context::default()));
    store.append(command("s", Expected::Exact(1), "b", 1)).await.unwrap();
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

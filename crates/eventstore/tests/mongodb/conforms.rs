//! The suite of every event store, from one process and from several.

use std::sync::Arc;
use std::time::Duration;

use meshwork_eventstore::mongodb::MongoEventStore;
use meshwork_eventstore::testing::{command, conformance};
use meshwork_eventstore::{
    AppendError, CommitServer, EventStore, Expected, InsertError, InsertFailure, Snapshot, SnapshotStore, partition_of,
};
use meshwork_testkit::Mongo;
use mongodb::bson::doc;

use crate::World;

#[tokio::test]
async fn mg_6_the_server_passes_the_suite_of_every_store() {
    for partitions in [1, 16] {
        let world = World::new(partitions);
        conformance(world.store().await).await;
    }
}

#[tokio::test]
async fn mg_6_another_server_passes_the_suite_of_every_store() {
    conformance(World::on(Mongo::on_sqlite(), 4).store().await).await;
}

#[tokio::test]
async fn mg_7_of_64_racing_writers_each_append_succeeds_once() {
    let world = World::new(1);
    let store = world.store().await;
    race(&[store], 64, 20).await;
}

#[tokio::test]
async fn of_racing_processes_each_append_succeeds_once() {
    let world = World::new(1);
    let stores = [world.store().await, world.store().await, world.store().await];
    race(&stores, 9, 6).await;
}

/// Writers append to one stream, each by what it knows of it, over several processes' stores.
async fn race(stores: &[Arc<MongoEventStore>], writers: usize, appends: usize) {
    let all = writers * appends;
    let writers: Vec<_> = (0..writers)
        .map(|writer| {
            let store = stores[writer % stores.len()].clone();
            tokio::spawn(async move {
                let mut made = Vec::new();
                let mut version = 0;
                while made.len() < appends {
                    let id = format!("{writer}-{}", made.len());
                    match store.append(command("raced", Expected::Exact(version), &id, 1)).await {
                        Ok(appended) => {
                            assert!(!appended.replayed, "{id} was made twice");
                            version = appended.commit.version();
                            made.push(appended.commit);
                        }
                        Err(AppendError::VersionConflict { actual, .. }) => {
                            version = actual;
                            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..300))).await;
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
    let stored = stores[0].read("raced", 0).await.unwrap();
    assert_eq!(stored.len(), all);
    assert_eq!(stored, acknowledged);
    for (at, commit) in (1..).zip(&stored) {
        assert_eq!((commit.version(), commit.position.n), (at, at), "no gap in versions nor positions");
    }
}

#[tokio::test]
async fn commits_of_another_process_wake_who_waits() {
    let world = World::new(4);
    let (here, there) = (world.store().await, world.store().await);
    let partition = partition_of("woken", 4);
    let mut beats = here.beats(partition);
    let made = there.append(command("woken", Expected::NoStream, "a", 1)).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(30), beats.of("woken", Duration::from_secs(600))).await;
    assert!(woken.is_ok(), "nobody told of it");
    assert_eq!(here.read_partition(partition, 0, 10).await.unwrap(), [made.commit]);
    assert_eq!(here.head(partition).await.unwrap(), 1);
}

#[tokio::test]
async fn the_end_of_a_commit_is_known_without_reading_and_its_middle_is_refused() {
    let world = World::new(1);
    let (here, there) = (world.store().await, world.store().await);
    here.append(command("s", Expected::NoStream, "a", 3)).await.unwrap();
    // The middle of the commit was a version of the stream as little to the process that made it as to another.
    for store in [&here, &there] {
        for version in [1, 2, 4] {
            let refused = store.append(command("s", Expected::Exact(version), "b", 1)).await.unwrap_err();
            assert!(matches!(refused, AppendError::VersionConflict { actual: 3, .. }), "{version}: {refused}");
        }
    }
    there.append(command("s", Expected::Exact(3), "c", 1)).await.unwrap();
    let late = here.append(command("s", Expected::Exact(3), "d", 1)).await.unwrap_err();
    assert!(matches!(late, AppendError::VersionConflict { actual: 4, .. }), "{late}");
}

#[tokio::test]
async fn the_newest_snapshot_of_a_shape_is_found() {
    let world = World::new(4);
    let store = world.store().await;
    let snapshot = |version, schema: &str, data: &str| Snapshot {
        stream: "s".to_owned(),
        version,
        schema: schema.to_owned(),
        data: data.to_owned().into(),
    };
    assert_eq!(store.latest("s", "a/1").await.unwrap(), None);
    for kept in [snapshot(100, "a/1", "x"), snapshot(200, "a/1", "y"), snapshot(300, "a/2", "z")] {
        store.save(kept).await.unwrap();
    }
    // The first of equal ones stays.
    store.save(snapshot(200, "a/1", "other")).await.unwrap();
    assert_eq!(store.latest("s", "a/1").await.unwrap(), Some(snapshot(200, "a/1", "y")));
    assert_eq!(store.latest("t", "a/1").await.unwrap(), None);
}

#[tokio::test]
async fn an_insert_of_several_commits_ends_at_the_first_that_is_refused() {
    let world = World::new(1);
    let store = world.store().await;
    let appended = store.append(command("taken", Expected::NoStream, "a", 1)).await.unwrap();
    let at = |stream: &str, n: i64| {
        let mut commit = appended.commit.clone();
        (commit.stream, commit.position.n) = (stream.to_owned(), n);
        commit
    };
    // One that goes; one whose stream has the version already; one behind it.
    let failure = store.server().insert(&[at("a", 2), at("taken", 3), at("b", 4)]).await.unwrap_err();
    assert!(matches!(failure, InsertFailure { made: 1, error: InsertError::Duplicate }), "{failure:?}");
    let documents = world.documents().await;
    assert_eq!(documents.count_documents(doc! {}).await.unwrap(), 2);
    assert_eq!(documents.find_one(doc! { "n": 2_i64 }).await.unwrap().unwrap().get_str("s").unwrap(), "a");
    let failure = store.server().insert(&[at("c", 2), at("d", 3)]).await.unwrap_err();
    assert!(matches!(failure, InsertFailure { made: 0, error: InsertError::Duplicate }), "{failure:?}");
    store.server().insert(&[at("e", 3), at("f", 4)]).await.unwrap();
    assert_eq!(store.head(0).await.unwrap(), 4);
    let all = store.read_partition(0, 0, 100).await.unwrap();
    assert_eq!(all.iter().map(|commit| commit.stream.as_str()).collect::<Vec<_>>(), ["taken", "a", "e", "f"]);
}

//! The server is killed, or hangs, while it is written to.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork_eventstore::mongodb::MongoEventStore;
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{AppendError, Commit, EventStore, Expected, StoreError};

use crate::World;

/// Appends one event after the other to a stream of its own, each command until its outcome is known.
async fn write(store: Arc<MongoEventStore>, writer: usize, stop: Arc<AtomicBool>) -> Vec<Commit> {
    let stream = format!("writer-{writer}");
    let mut made: Vec<Commit> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let version = made.last().map_or(0, Commit::version);
        let id = format!("{}", made.len());
        loop {
            match store.append(command(&stream, Expected::Exact(version), &id, 1)).await {
                Ok(appended) => break made.push(appended.commit),
                Err(AppendError::Store(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_and_doubles_no_acknowledged_append() {
    let mut world = World::private(4);
    let store = world.store().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8).map(|writer| tokio::spawn(write(store.clone(), writer, stop.clone()))).collect();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        world = tokio::task::spawn_blocking(move || {
            world.mongo.kill();
            std::thread::sleep(Duration::from_millis(300));
            world.mongo.restart();
            world
        })
        .await
        .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = 0;
    let fresh = world.store().await;
    for (writer, made) in writers.into_iter().enumerate() {
        let made = tokio::time::timeout(Duration::from_secs(60), made).await.unwrap().unwrap();
        assert!(!made.is_empty());
        acknowledged += made.len();
        assert_eq!(fresh.read(&format!("writer-{writer}"), 0).await.unwrap(), made);
    }
    // Each commit has a position, and the positions have no gap: by the old process's eyes and by new ones.
    for store in [&store, &fresh] {
        let mut seen = HashSet::new();
        for partition in 0..4 {
            for (n, commit) in (1..).zip(store.read_partition(partition, 0, usize::MAX).await.unwrap()) {
                assert_eq!(commit.position.n, n);
                assert!(!commit.is_tombstone(), "nothing was lost");
                assert!(seen.insert((commit.stream, commit.command_id)));
            }
        }
        assert_eq!(seen.len(), acknowledged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_leaves_the_outcome_unknown_and_the_command_is_made_once() {
    let mut world = World::private(1);
    world.options.operation_timeout = Duration::from_millis(300);
    world.options.append_timeout = Duration::from_secs(1);
    let store = world.store().await;
    store.append(command("s", Expected::NoStream, "a", 1)).await.unwrap();
    world.mongo.freeze();
    let unknown = store.append(command("s", Expected::Exact(1), "b", 1)).await.unwrap_err();
    assert!(matches!(unknown, AppendError::Store(StoreError::OutcomeUnknown(_))), "{unknown}");
    assert!(store.read("s", 0).await.is_err());
    world.mongo.thaw();
    let again = async {
        loop {
            match store.append(command("s", Expected::Exact(1), "b", 1)).await {
                Ok(appended) => return appended,
                Err(AppendError::Store(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let appended = tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
    assert_eq!(appended.commit.version(), 2);
    assert_eq!(store.read("s", 0).await.unwrap().len(), 2);
}

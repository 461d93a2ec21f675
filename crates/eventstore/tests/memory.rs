//! The commit log on a database in memory against the conformance suite.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use meshwork_eventstore::testing::{MemoryServer, conformance, memory_store};
use meshwork_eventstore::{
    Commit, CommitLog, CommitLogOptions, CommitServer, Context, EventStore, Position, StoreError, StoredEvent,
};
use time::OffsetDateTime;

#[tokio::test]
async fn conforms() {
    for partitions in [1, 16] {
        conformance(Arc::new(memory_store(partitions))).await;
    }
}

/// A log over a database with commits of a stream, by position and version.
async fn log_of(commits: &[(i64, i64)]) -> CommitLog<MemoryServer> {
    let server = MemoryServer::default();
    for &(n, version) in commits {
        let event = StoredEvent { version, event_type: "told".to_owned(), schema_version: 1, data: Bytes::new() };
        let commit = Commit {
            stream: "s".to_owned(),
            command_id: n.to_string(),
            command_hash: [0; 32],
            position: Position { partition: 0, n },
            at: OffsetDateTime::UNIX_EPOCH,
            result: Bytes::new(),
            events: vec![event],
            context: Context::default(),
            damage: None,
        };
        server.insert(&[commit]).await.unwrap();
    }
    CommitLog::new(server, CommitLogOptions { partitions: 1, ..CommitLogOptions::default() })
}

#[tokio::test]
async fn a_reader_who_is_faster_than_the_follower_goes_on_behind_a_lost_commit_too() {
    let log = log_of(&[(1, 1), (3, 2)]).await;
    // The follower has had no time yet to ask where the partition ends.
    let read = log.read_partition(0, 0, 100).await.unwrap();
    assert_eq!(read.iter().map(|commit| commit.position.n).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(read[1].is_tombstone());
}

#[tokio::test]
async fn a_commit_lost_from_the_middle_of_its_stream_is_an_error_of_the_stream() {
    let log = log_of(&[(1, 1), (2, 3), (3, 4)]).await;
    for after in [0, 1] {
        match log.read("s", after).await {
            Err(StoreError::Damaged { place, problem }) => {
                assert_eq!((place.as_str(), problem.as_str()), ("s", "version 2 is missing"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(log.read("s", 2).await.unwrap().len(), 2);
}

//! A database in memory, with the constraints that a commit log needs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use crate::{Commit, CommitLog, CommitLogOptions, CommitServer, InsertError, InsertFailure, ReadError, first_version};

/// A database in memory. It never fails.
#[derive(Debug, Default)]
pub struct MemoryServer {
    commits: Mutex<BTreeMap<(u16, i64), Commit>>,
}

/// An empty event store in memory.
pub fn memory_store(partitions: u16) -> CommitLog<MemoryServer> {
    CommitLog::new(MemoryServer::default(), CommitLogOptions { partitions, ..CommitLogOptions::default() })
}

impl MemoryServer {
    fn commits(&self) -> MutexGuard<'_, BTreeMap<(u16, i64), Commit>> {
        self.commits.lock().unwrap()
    }

    fn find(&self, wanted: impl Fn(&Commit) -> bool) -> Option<Commit> {
        self.commits().values().find(|commit| wanted(commit)).cloned()
    }
}

#[async_trait]
impl CommitServer for MemoryServer {
    async fn insert(&self, inserted: &[Commit]) -> Result<(), InsertFailure> {
        let mut commits = self.commits();
        for (made, commit) in inserted.iter().enumerate() {
            let collides = |other: &Commit| {
                let same_stream = other.stream == commit.stream;
                other.position == commit.position
                    || same_stream && other.command_id == commit.command_id
                    || same_stream && first_version(other) == first_version(commit)
            };
            if commits.values().any(collides) {
                return Err(InsertFailure { made, error: InsertError::Duplicate });
            }
            commits.insert((commit.position.partition, commit.position.n), commit.clone());
        }
        Ok(())
    }

    async fn by_command(&self, _: u16, stream: &str, command_id: &str) -> Result<Option<Commit>, ReadError> {
        Ok(self.find(|commit| commit.stream == stream && commit.command_id == command_id))
    }

    async fn by_version(&self, _: u16, stream: &str, first: i64) -> Result<Option<Commit>, ReadError> {
        Ok(self.find(|commit| commit.stream == stream && first_version(commit) == first))
    }

    async fn by_position(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        Ok(self.commits().get(&(partition, n)).cloned())
    }

    async fn load(&self, _: u16, stream: &str, after: i64) -> Result<Vec<Commit>, ReadError> {
        let of_stream = |commit: &&Commit| commit.stream == stream && commit.version() > after;
        let mut commits: Vec<_> = self.commits().values().filter(of_stream).cloned().collect();
        commits.sort_by_key(first_version);
        Ok(commits)
    }

    async fn follow(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError> {
        self.by_position(partition, n).await
    }

    async fn range(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, ReadError> {
        let behind = (partition, after + 1)..=(partition, i64::MAX);
        Ok(self.commits().range(behind).take(limit).map(|(_, commit)| commit.clone()).collect())
    }

    async fn last(&self, partition: u16) -> Result<i64, ReadError> {
        let all = (partition, 0)..=(partition, i64::MAX);
        Ok(self.commits().range(all).next_back().map_or(0, |((_, n), _)| *n))
    }

    async fn ping(&self) -> Result<(), ReadError> {
        Ok(())
    }
}

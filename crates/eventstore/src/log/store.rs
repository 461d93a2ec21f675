//! The event store over a commit log.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::partition::Partition;
use super::{CommitLogOptions, CommitServer, Log, ONE_BY_ONE, queue, sound, tail, waiting};
use crate::event::missing_version;
use crate::{Append, AppendError, Appended, Beats, Commit, EventStore, Pulse, StoreError, partition_of};

/// Of how many streams the last version is remembered, so that an append needs no read.
const REMEMBERED_STREAMS: u64 = 100_000;

/// How often a stream with a gap is read: a cursor may pass a place before a commit comes there, and meet the next one.
const READS: u32 = 3;

/// An event store over a [`CommitServer`]. It follows its partitions until it is dropped.
pub struct CommitLog<S> {
    log: Arc<Log<S>>,
    _tasks: DropGuard,
}

impl<S: CommitServer> CommitLog<S> {
    /// A log over `server`, whose partitions it follows from now on; needs a tokio runtime.
    pub fn new(server: S, options: CommitLogOptions) -> Self {
        let options = CommitLogOptions { partitions: options.partitions.max(1), ..options };
        let random = options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let (queues, ends): (Vec<_>, Vec<_>) = (0..options.partitions).map(|_| waiting::queue()).unzip();
        let log = Arc::new(Log {
            server,
            partitions: queues.into_iter().map(Partition::new).collect(),
            ends: moka::sync::Cache::new(REMEMBERED_STREAMS),
            pulse: Pulse::new(options.partitions),
            random: Mutex::new(random),
            options,
        });
        let stop = CancellationToken::new();
        for (partition, end) in (0..).zip(ends) {
            tokio::spawn(stop.clone().run_until_cancelled_owned(tail::follow(log.clone(), partition)));
            tokio::spawn(stop.clone().run_until_cancelled_owned(queue::run(log.clone(), partition, end)));
        }
        Self { log, _tasks: stop.drop_guard() }
    }

    /// The database.
    pub fn server(&self) -> &S {
        &self.log.server
    }
}

#[async_trait]
impl<S: CommitServer> EventStore for CommitLog<S> {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.log.append(append).await
    }

    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError> {
        let partition = partition_of(stream, self.partitions());
        let found = self.log.server.by_command(partition, stream, command_id).await?;
        found.map(sound).transpose()
    }

    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, StoreError> {
        let partition = partition_of(stream, self.partitions());
        let mut missing = 0;
        for _ in 0..READS {
            let commits = self.log.server.load(partition, stream, after).await?;
            let commits: Vec<_> = commits.into_iter().map(sound).collect::<Result<_, _>>()?;
            match missing_version(&commits, after) {
                None => return Ok(commits),
                Some(version) => missing = version,
            }
        }
        Err(StoreError::missing(stream, missing))
    }

    async fn read_behind(&self, stream: &str, end: i64) -> Result<Vec<Commit>, StoreError> {
        let partition = partition_of(stream, self.partitions());
        let (mut read, mut end) = (Vec::new(), end);
        while read.len() < ONE_BY_ONE {
            match self.log.server.by_version(partition, stream, end + 1).await? {
                Some(next) => {
                    let next = sound(next)?;
                    end = next.version();
                    read.push(next);
                }
                // The stream is known to go on: what is wrong with it is told below.
                None if self.log.ends.get(stream).is_some_and(|known| known > end) => break,
                None => return Ok(read),
            }
        }
        read.extend(self.read(stream, end).await?);
        Ok(read)
    }

    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError> {
        self.log.read_partition(partition, after, limit).await
    }

    async fn head(&self, partition: u16) -> Result<i64, StoreError> {
        self.log.catch_up(partition).await?;
        Ok(self.log.partition(partition).tail())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.log.server.ping().await?)
    }

    fn partitions(&self) -> u16 {
        self.log.options.partitions
    }

    fn beats(&self, partition: u16) -> Beats {
        self.log.pulse.beats(partition)
    }
}

//! A commit log on a database that has unique indexes and majority reads, and nothing else.
//!
//! ```text
//! append ─▶ is the expected version the end of a commit? ─▶ queue ─▶ insert behind the last known position
//!              ▲                                                        │ acknowledged: done
//!              └── another's commit has the version ◀── decide by majority reads: whose is it, what is taken?
//! ```
//!
//! Commits are only ever inserted. A commit's document carries the command's identity, its first version and its position,
//! each guarded by a unique index, so that one insert decides all three at once. The position is the one behind a commit
//! that is known to stand: so positions are dense and in commit order without a counter (ES-3).
//!
//! - [`append`]: an append, from the check of its version to the decision of its outcome.
//! - [`queue`]: what waits in a partition is inserted together.
//! - [`tail`]: following a partition, and filling what was lost from it.
//! - [`partition`]: what this process knows of a partition.
//! - [`server`]: the port, what the database has to do.

mod append;
mod backoff;
mod partition;
mod queue;
mod server;
mod tail;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::partition::Partition;
pub use self::server::{CommitServer, InsertError, InsertFailure, ReadError, first_version};
use crate::event::missing_version;
use crate::{Append, AppendError, Appended, Beats, Commit, EventStore, Pulse, StoreError, partition_of};

/// Of how many streams the last version is remembered, so that an append needs no read.
const REMEMBERED_STREAMS: u64 = 100_000;

/// How many commits are read one by one, by equality, before a range of them is: that is cheap on every server.
const ONE_BY_ONE: usize = 8;
/// How often a stream with a gap is read: a cursor may pass a place before a commit comes there, and meet the next one.
const READS: u32 = 3;

/// How a [`CommitLog`] works.
#[derive(Clone, Debug)]
pub struct CommitLogOptions {
    /// How many partitions there are; fixed for ever for a database. 16 by default.
    pub partitions: u16,
    /// How long an append may take in all, a failover of the database included. 5 s by default.
    pub append_timeout: Duration,
    /// How long to wait at most before looking for commits of other processes. 1 s by default; while some come, it is 20 ms.
    pub poll: Duration,
    /// How often to look whether commits are missing from the middle of a partition. 10 s by default.
    pub hole_check: Duration,
    /// What the jitter is drawn from; by chance when `None`.
    pub seed: Option<u64>,
    /// Whether an expected version must be the end of a commit. Only tests, which show what happens otherwise, say no.
    #[cfg(feature = "ablation")]
    pub boundary_check: bool,
}

impl Default for CommitLogOptions {
    fn default() -> Self {
        Self {
            partitions: 16,
            append_timeout: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            hole_check: Duration::from_secs(10),
            seed: None,
            #[cfg(feature = "ablation")]
            boundary_check: true,
        }
    }
}

impl CommitLogOptions {
    #[cfg(feature = "ablation")]
    fn checks_boundaries(&self) -> bool {
        self.boundary_check
    }

    #[cfg(not(feature = "ablation"))]
    #[allow(clippy::unused_self, reason = "with the feature it reads an option")]
    fn checks_boundaries(&self) -> bool {
        true
    }
}

/// An event store over a [`CommitServer`]. It follows its partitions until it is dropped.
pub struct CommitLog<S> {
    log: Arc<Log<S>>,
    _tasks: DropGuard,
}

/// What the appends, the readers and the followers of a log share.
struct Log<S> {
    server: S,
    options: CommitLogOptions,
    partitions: Box<[Partition]>,
    /// By stream, the end of its last commit that is known to stand. Ends of commits never disappear.
    ends: moka::sync::Cache<String, i64>,
    pulse: Pulse,
    random: Mutex<fastrand::Rng>,
}

impl<S: CommitServer> CommitLog<S> {
    /// A log over `server`, whose partitions it follows from now on; needs a tokio runtime.
    pub fn new(server: S, options: CommitLogOptions) -> Self {
        let options = CommitLogOptions { partitions: options.partitions.max(1), ..options };
        let random = options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let (queues, ends): (Vec<_>, Vec<_>) = (0..options.partitions).map(|_| queue::queue()).unzip();
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

/// A commit that can be understood, or what is wrong with it.
fn sound(mut commit: Commit) -> Result<Commit, StoreError> {
    match commit.damage.take() {
        Some(damage) => Err(StoreError::Damaged { place: commit.stream, problem: damage.problem }),
        None => Ok(commit),
    }
}

impl<S> Log<S> {
    /// A partition; there are no others than those of the options.
    fn partition(&self, partition: u16) -> &Partition {
        &self.partitions[usize::from(partition) % self.partitions.len()]
    }

    /// A number below `below`, by chance.
    fn random(&self, below: u64) -> u64 {
        self.random.lock().map(|mut random| random.u64(0..below.max(1))).unwrap_or_default()
    }

    /// Takes a commit that this process has made, or has met when it followed its partition: readers get it from here.
    /// Returns whether the tail has moved to it.
    fn stands(&self, commit: &Commit) -> bool {
        self.ends_with(commit);
        let moved = self.partition(commit.position.partition).stands(commit);
        if moved {
            self.pulse.beat(commit.position.partition, &commit.stream);
        }
        moved
    }

    /// Takes a commit that was found when an append looked for something: it tells where its stream ends, and that its
    /// position is taken. Who follows the partition reads it again.
    fn found(&self, commit: &Commit) {
        self.ends_with(commit);
        self.partition(commit.position.partition).taken(commit.position.n);
    }

    fn ends_with(&self, commit: &Commit) {
        if !commit.is_tombstone() && commit.damage.is_none() {
            let version = commit.version();
            let known = self.ends.get(&commit.stream).unwrap_or_default();
            if version > known {
                self.ends.insert(commit.stream.clone(), version);
            }
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        StoreError::Unavailable(error.0)
    }
}

impl From<ReadError> for AppendError {
    fn from(error: ReadError) -> Self {
        AppendError::Store(error.into())
    }
}

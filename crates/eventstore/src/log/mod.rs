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
//! - [`store`]: the event store over all of it.
//! - [`waiting`]: what waits in a partition.
//! - [`queue`]: what waits in a partition is inserted together.
//! - [`tail`]: following a partition, and filling what was lost from it.
//! - [`partition`]: what this process knows of a partition.
//! - [`server`]: the port, what the database has to do.

mod append;
mod backoff;
mod partition;
mod queue;
mod server;
mod store;
mod tail;
mod waiting;

use std::sync::Mutex;
use std::time::Duration;

use self::partition::Partition;
pub use self::server::{CommitServer, InsertError, InsertFailure, ReadError, first_version};
pub use self::store::CommitLog;
use crate::{AppendError, Commit, Pulse, StoreError};

/// How many commits are read one by one, by equality, before a range of them is: that is cheap on every server.
const ONE_BY_ONE: usize = 8;

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

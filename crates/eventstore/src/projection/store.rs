//! The port: what keeps a projection's versions.

use async_trait::async_trait;

use super::{ParkedStream, VersionState};
use crate::{Commit, StoreError};

/// What becomes of a stream whose commit can't be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// It is parked with the reason, and its later commits with it; the others go on (ES-7).
    Park,
    /// The batch is refused, but for streams that the live version has parked too: rebuilds are strict (ES-6).
    Strict,
}

/// How far a version has followed a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The position of the last commit that was applied; 0 for none.
    pub position: i64,
    /// Its identity ([`Commit::identity`]); empty where that isn't known, as when an earlier release has applied it.
    pub identity: String,
}

impl Checkpoint {
    /// That of a version that has applied everything up to this commit.
    pub fn of(commit: &Commit) -> Self {
        Self { position: commit.position.n, identity: commit.identity() }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was applied, each commit once.
    Yes,
    /// The version's checkpoint is elsewhere, or the version isn't followed any more: nothing was changed.
    Elsewhere,
    /// A stream's commit can't be applied, and had to be: nothing was changed.
    Poisoned {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
    },
}

/// What became of a parked stream that was retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is followed again.
    Yes,
    /// It isn't parked.
    NotParked,
    /// The version has passed what was known of the stream, or isn't live any more: nothing was changed.
    Moved,
    /// A commit still can't be applied: nothing was changed.
    Poisoned {
        /// Why.
        reason: String,
    },
}

/// What became of the wish to be the one who rebuilds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This version is to be followed.
    Version(i64),
    /// Somebody else is at it.
    Running,
    /// There is no version to go back to.
    Nothing,
}

/// A row of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The last position that has changed it.
    pub n: i64,
    /// All that it says, in a form that is equal for equal rows.
    pub content: String,
}

/// A key, with the row that each of two versions has under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowPair {
    /// The stream that the row is made of.
    pub key: String,
    /// The live version's.
    pub live: Option<Side>,
    /// The other's.
    pub built: Option<Side>,
}

/// Rows of two versions, read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// By key.
    pub rows: Vec<RowPair>,
    /// The key behind which the next page begins; `None` for the last one.
    pub next: Option<String>,
    /// By partition, up to where both versions have applied everything.
    pub both: Vec<i64>,
    /// Streams that one of the versions has parked: their rows are not compared.
    pub parked: Vec<String>,
}

/// Keeps the versions of one projection: rows, checkpoints and parked streams change in one transaction.
#[async_trait]
pub trait ProjectionStore: Send + Sync + 'static {
    /// The versions, newest first; one of them is live.
    ///
    /// # Errors
    /// When the store fails.
    async fn versions(&self) -> Result<Vec<(i64, VersionState)>, StoreError>;

    /// How far a version has followed a partition.
    ///
    /// # Errors
    /// When the store fails.
    async fn checkpoint(&self, version: i64, partition: u16) -> Result<Checkpoint, StoreError>;

    /// Applies commits that follow position `after` of their partition to a version, each once: only if the version's
    /// checkpoint is `after`, and only if it is live (for [`ApplyMode::Park`]) or building (for [`ApplyMode::Strict`]). The
    /// last commit's position and identity are the checkpoint from then on ([`Checkpoint::of`]).
    ///
    /// # Errors
    /// When the store fails.
    async fn apply(
        &self,
        version: i64,
        partition: u16,
        after: i64,
        commits: Vec<Commit>,
        mode: ApplyMode,
    ) -> Result<Applied, StoreError>;

    /// Makes a version that is building, empty, with a number that no version had whose rows are left; or, with `retired`,
    /// makes the retired one building again. What a builder was building that has not been heard of for a while is given
    /// up before.
    ///
    /// # Errors
    /// When the store fails.
    async fn take(&self, retired: bool) -> Result<Taken, StoreError>;

    /// Says that the builder of a version is alive. False when the version isn't building any more.
    ///
    /// # Errors
    /// When the store fails.
    async fn keep(&self, version: i64) -> Result<bool, StoreError>;

    /// Gives a building version up: it is dropped, or retired as it was before, if it has been live.
    ///
    /// # Errors
    /// When the store fails.
    async fn give_up(&self, version: i64) -> Result<(), StoreError>;

    /// Rows of both versions with a key behind `after` (all, when empty), about `limit` of them, read at one moment.
    ///
    /// # Errors
    /// When the store fails.
    async fn page(&self, live: i64, built: i64, after: &str, limit: usize, partitions: u16)
    -> Result<Page, StoreError>;

    /// The rows of these keys, read at one moment.
    ///
    /// # Errors
    /// When the store fails.
    async fn rows(&self, live: i64, built: i64, keys: &[String], partitions: u16) -> Result<Page, StoreError>;

    /// Keeps the projector from moving the live version for about two seconds, so that the building one can catch up with
    /// it. Queries read on.
    ///
    /// # Errors
    /// When the store fails.
    async fn hold(&self) -> Result<(), StoreError>;

    /// Makes a building version live, the live one retired and drops the one that was retired, in one transaction, if the
    /// building one has applied at least as much of every partition; else nothing is changed and false returned. In the
    /// partitions of `diverged` it needn't: there the live version has applied what the event store doesn't hold.
    ///
    /// # Errors
    /// When the store fails.
    async fn switch(&self, to: i64, diverged: &[u16]) -> Result<bool, StoreError>;

    /// The newest `limit` streams that a version has parked; their partitions are left to the caller.
    ///
    /// # Errors
    /// When the store fails.
    async fn parked(&self, version: i64, limit: usize) -> Result<Vec<ParkedStream>, StoreError>;

    /// Makes the row of a parked stream of the live version anew of its whole history, which holds what there is of it in
    /// the partition up to position `known` at least, and follows the stream from then on: only if the version's
    /// checkpoint is no further than that, since what it has passed beyond is not applied again.
    ///
    /// # Errors
    /// When the store fails.
    async fn retry(
        &self,
        version: i64,
        partition: u16,
        stream: &str,
        known: i64,
        history: Vec<Commit>,
    ) -> Result<Retried, StoreError>;

    /// Whether the store does its work, for a check.
    ///
    /// # Errors
    /// When it doesn't.
    async fn ping(&self) -> Result<(), StoreError>;
}

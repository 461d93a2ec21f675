//! Versions, progress, reports, errors.

use time::OffsetDateTime;

use crate::StoreError;

/// What a version of a projection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Queries read it.
    Live,
    /// A rebuild makes it.
    Building,
    /// It was live before; one can go back to it.
    Retired,
}

/// How far a version has followed a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: u16,
    /// The last commit that was applied; 0 for none.
    pub position: i64,
    /// The last commit that there is; 0 for none. Before `position` in a store that was put back to an older copy.
    pub head: i64,
}

/// A stream that a version doesn't follow any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedStream {
    /// The stream.
    pub stream: String,
    /// Its partition.
    pub partition: u16,
    /// The commit that could not be applied.
    pub position: i64,
    /// Why.
    pub reason: String,
}

/// One making of a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    /// The number, from 1.
    pub version: i64,
    /// What it is for.
    pub state: VersionState,
    /// How far it has come.
    pub partitions: Vec<PartitionStatus>,
    /// What it doesn't follow.
    pub parked: Vec<ParkedStream>,
    /// Of the live version, how it has diverged from its store: a sentence for each partition in which it has, with what can be
    /// done.
    pub divergences: Vec<String>,
}

/// A row in which two versions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The row.
    pub key: String,
    /// What the version says that was live; `None` when it has no such row.
    pub live: Option<String>,
    /// What the other says; `None` when it has no such row.
    pub built: Option<String>,
}

/// What a rebuild or rollback has done and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionReport {
    /// The version that is live from then on.
    pub version: i64,
    /// The version that was live until then.
    pub previous: i64,
    /// How many commits were applied.
    pub commits: u64,
    /// How many rows were compared.
    pub rows: u64,
    /// How many of them differ.
    pub differing: u64,
    /// The first of the differences.
    pub differences: Vec<Difference>,
    /// When it was done.
    pub completed_at: OffsetDateTime,
}

/// A projection as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its versions, newest first.
    pub versions: Vec<VersionStatus>,
    /// What the last rebuild or rollback of this process has found.
    pub last_report: Option<ProjectionReport>,
}

/// What a rebuild or rollback is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Commits are applied.
    #[default]
    Applying,
    /// Rows are compared.
    Comparing,
    /// Queries are led to the other version.
    Switching,
    /// Everything is done.
    Done,
}

/// How far a rebuild or rollback is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectionProgress {
    /// What it is doing.
    pub phase: Phase,
    /// How many commits have been applied.
    pub applied: u64,
    /// How many there are, as far as is known.
    pub total: u64,
    /// How many rows have been compared.
    pub compared: u64,
    /// How many of them differ.
    pub differing: u64,
}

/// Why a projection was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// A rebuild or rollback is under way, here or in another process.
    #[error("another rebuild or rollback is under way")]
    Running,
    /// Rows differ, and that was not accepted.
    #[error("{} of {} rows differ", .0.differing, .0.rows)]
    Differs(Box<ProjectionReport>),
    /// An event can't be applied.
    #[error("{stream} can't be applied: {reason}")]
    Poisoned {
        /// Its stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// The event store doesn't hold what a version has applied last: it was put back to an older copy, or is another one.
    /// Nothing has changed.
    #[error("version {version} has diverged from its event store: {problem}")]
    Diverged {
        /// The version.
        version: i64,
        /// What was found, and what can be done.
        problem: String,
    },
    /// No version is kept that was live before.
    #[error("no version is kept that was live before")]
    NothingToRollBack,
    /// The stream is not parked.
    #[error("the stream is not parked")]
    NotParked,
    /// The stream's event still can't be applied.
    #[error("the stream stays parked: {0}")]
    StillParked(String),
    /// A version that was built did not catch up with the live one within the time for it, nor a retry with its partition.
    /// Nothing has changed.
    #[error("too much was written to catch up with it in time; nothing has changed: try again")]
    Behind,
    /// So many rows could not be compared: they changed again and again, or nobody keeps the live version up to date.
    /// Nothing has changed.
    #[error("{0} rows can't be compared: they change too quickly, or no projector follows the live version")]
    Moving(usize),
    /// A store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

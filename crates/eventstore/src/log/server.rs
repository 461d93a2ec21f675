//! What a commit log needs of a database: inserts, two unique indexes beside the identity, and majority reads.
//!
//! Neither transactions nor updates are asked for (MG-1), nor that an error names the index that was broken (MG-2).

use async_trait::async_trait;

use crate::Commit;

/// Why a commit's insert was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// A unique index refuses the document. Which one isn't told, nor whether what it collides with will stay.
    #[error("a unique index refuses the commit")]
    Duplicate,
    /// Nobody knows whether it was made, or will be.
    #[error("{0}")]
    Unknown(String),
    /// It certainly wasn't made.
    #[error("{0}")]
    NotSent(String),
}

/// Commits were not all acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct InsertFailure {
    /// How many were, from the first on.
    pub made: usize,
    /// What happened to the one behind them. The others weren't tried, unless it is [`InsertError::Unknown`]: then nobody
    /// knows what became of any of them.
    pub error: InsertError,
}

/// A read has failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// A database that keeps commits, as the log uses it. All reads are of what a majority of its servers keeps (MG-3).
///
/// Three constraints hold over all commits, tombstones included: (stream, command id) is unique, (partition, stream,
/// first version) is, and (partition, position) is. A tombstone has the empty stream and its position as its first
/// version ([`first_version`]).
///
/// A commit that can't be understood is returned with [`Commit::damage`] told, and with what could be read of the rest.
#[async_trait]
pub trait CommitServer: Send + Sync + 'static {
    /// Inserts commits of one partition, acknowledged when a majority keeps them on its disks. They are applied in order,
    /// and none behind one that is refused.
    ///
    /// # Errors
    /// See [`InsertFailure`].
    async fn insert(&self, commits: &[Commit]) -> Result<(), InsertFailure>;

    /// The commit of a command on a stream: to decide an insert's outcome, and to find what a command has made.
    ///
    /// # Errors
    /// When the read fails.
    async fn by_command(&self, partition: u16, stream: &str, command_id: &str) -> Result<Option<Commit>, ReadError>;

    /// The commit of a stream that begins with a version: to decide an insert's outcome.
    ///
    /// # Errors
    /// When the read fails.
    async fn by_version(&self, partition: u16, stream: &str, first: i64) -> Result<Option<Commit>, ReadError>;

    /// The commit at a position: to decide an insert's outcome.
    ///
    /// # Errors
    /// When the read fails.
    async fn by_position(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError>;

    /// The commits of a stream that hold a version above `after`, oldest first.
    ///
    /// # Errors
    /// When the read fails.
    async fn load(&self, partition: u16, stream: &str, after: i64) -> Result<Vec<Commit>, ReadError>;

    /// The commit of a stream with the highest version: to find a stream's end. A database that can find it without the
    /// others should.
    ///
    /// # Errors
    /// When the read fails.
    async fn newest(&self, partition: u16, stream: &str) -> Result<Option<Commit>, ReadError> {
        Ok(self.load(partition, stream, 0).await?.pop())
    }

    /// The commit at a position, for those who follow the partition.
    ///
    /// # Errors
    /// When the read fails.
    async fn follow(&self, partition: u16, n: i64) -> Result<Option<Commit>, ReadError>;

    /// At most `limit` commits of a partition with a position above `after`, in order of position, for those who follow
    /// it. Positions may be missing.
    ///
    /// # Errors
    /// When the read fails.
    async fn range(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, ReadError>;

    /// The highest position of a partition; 0 for none.
    ///
    /// # Errors
    /// When the read fails.
    async fn last(&self, partition: u16) -> Result<i64, ReadError>;

    /// Whether the database answers, for a check.
    ///
    /// # Errors
    /// When it doesn't.
    async fn ping(&self) -> Result<(), ReadError>;
}

/// The first version of a commit, as the unique index has it.
pub fn first_version(commit: &Commit) -> i64 {
    commit.events.first().map_or(commit.position.n, |event| event.version)
}

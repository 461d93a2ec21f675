//! The port: what every event store does.

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_sql::{Kind, from_micros, to_micros};
use time::OffsetDateTime;

use crate::{Beats, Commit, Context, NewEvent};

/// How many events a commit may have.
pub const MAX_EVENTS: usize = 256;
/// How many bytes an event may have. The largest also fits a broker's message.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;
/// How many bytes the events of a commit may have together.
pub const MAX_COMMIT_BYTES: usize = 1024 * 1024;

/// The version that a stream must have for a commit to be made (ES-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The stream must have no events.
    NoStream,
    /// The stream must have this version.
    Exact(i64),
    /// Any version will do. Not for commands that decide by the stream's state.
    Any,
}

/// A commit to make.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: String,
    /// The version that it must have.
    pub expected: Expected,
    /// The command's id. A command that comes again with its id gets the stored result (ES-2).
    pub command_id: String,
    /// The hash of what the caller asked for; never of anything that was fetched meanwhile.
    pub command_hash: [u8; 32],
    /// The events: 1 to [`MAX_EVENTS`].
    pub events: Vec<NewEvent>,
    /// What the command is answered.
    pub result: Bytes,
    /// The time, by the caller's clock.
    pub at: OffsetDateTime,
    /// Why it is made, mostly what the task carries ([`Context::current`]). What a field may not hold is left out.
    pub context: Context,
}

/// A commit that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The commit.
    pub commit: Commit,
    /// Whether it was made by an earlier call with the same command id.
    pub replayed: bool,
}

/// Why a commit was not made. Nothing was written, except where [`StoreError::OutcomeUnknown`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else has appended first: read the stream and decide anew.
    #[error("the stream {stream} is at version {actual}")]
    VersionConflict {
        /// The stream.
        stream: String,
        /// Its version.
        actual: i64,
    },
    /// The command id came with another payload before (ES-2).
    #[error("the command id {command_id} came with another payload before")]
    CommandReused {
        /// The command id.
        command_id: String,
    },
    /// The commit has no events, or too many, or too large ones, or a large result beside them.
    #[error(
        "a commit has 1 to {MAX_EVENTS} events of at most {MAX_EVENT_BYTES} bytes each, and {MAX_COMMIT_BYTES} bytes in \
         all with its result"
    )]
    Size,
    /// The stream or the command has no name.
    #[error("a commit needs the name of its stream and the id of its command; neither may be empty")]
    Unnamed,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store has failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or refuses. Nothing was written.
    #[error("the event store is unavailable: {0}")]
    Unavailable(String),
    /// It was lost in the middle of an append, which may have been made: repeat it with the same command id.
    #[error("the outcome of the append is unknown; repeat it with the same command id: {0}")]
    OutcomeUnknown(String),
    /// What it holds can't be understood.
    #[error("the event store holds something that can't be read in {place}: {problem}")]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    /// What the failure means, in the words that SQL stores have for it.
    pub fn kind(&self) -> Kind {
        match self {
            StoreError::Unavailable(_) => Kind::Unavailable,
            StoreError::OutcomeUnknown(_) => Kind::OutcomeUnknown,
            StoreError::Damaged { .. } => Kind::Damaged,
        }
    }

    /// A version of a stream was lost from before others.
    pub(crate) fn missing(stream: &str, version: i64) -> Self {
        StoreError::Damaged { place: stream.to_owned(), problem: format!("version {version} is missing") }
    }
}

impl From<meshwork_sql::Error> for AppendError {
    fn from(error: meshwork_sql::Error) -> Self {
        AppendError::Store(error.into())
    }
}

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        match error.kind() {
            // What others were in the way of, and what may be away for a moment, was not written.
            Kind::Unavailable | Kind::Conflict => StoreError::Unavailable(error.to_string()),
            Kind::OutcomeUnknown => StoreError::OutcomeUnknown(error.to_string()),
            Kind::Damaged => StoreError::Damaged { place: "its tables".to_owned(), problem: error.to_string() },
        }
    }
}

/// Refuses a commit that is too large, or without a name.
pub(crate) fn check(append: &Append) -> Result<(), AppendError> {
    if append.stream.is_empty() || append.command_id.is_empty() {
        return Err(AppendError::Unnamed);
    }
    let events: usize = append.events.iter().map(|event| event.data.len()).sum();
    let bytes = events.saturating_add(append.result.len());
    let sound = (1..=MAX_EVENTS).contains(&append.events.len())
        && bytes <= MAX_COMMIT_BYTES
        && append.events.iter().all(|event| event.data.len() <= MAX_EVENT_BYTES);
    if sound { Ok(()) } else { Err(AppendError::Size) }
}

/// A time as a reader gets it back: in microseconds.
pub(crate) fn stored_time(at: OffsetDateTime) -> OffsetDateTime {
    from_micros(to_micros(at))
}

/// An append-only store of events.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Makes a commit, or finds that the same command has made it before.
    ///
    /// # Errors
    /// See [`AppendError`].
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// The commit that a command has made on a stream.
    ///
    /// # Errors
    /// When the store fails.
    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError>;

    /// The commits of a stream that hold a version above `after` (0 for all), oldest first.
    ///
    /// # Errors
    /// When the store fails.
    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, StoreError>;

    /// As [`read`](Self::read), behind a version that is known to be the end of a commit: a store may look for the next one
    /// alone, as mostly there is none. Then a next one whose version is damaged may be taken for the end of the stream.
    ///
    /// # Errors
    /// When the store fails.
    async fn read_behind(&self, stream: &str, end: i64) -> Result<Vec<Commit>, StoreError> {
        self.read(stream, end).await
    }

    /// At most `limit` commits of a partition with a position above `after` (0 for all), in order of position, without a
    /// gap. Commits that can't be understood are among them ([`Commit::damage`]), and tombstones. What another process has
    /// added within the last seconds may not be: there is a beat when it is met here, and [`head`](Self::head) looks for
    /// it at once.
    ///
    /// # Errors
    /// When the store fails.
    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError>;

    /// The last position of a partition; 0 for none.
    ///
    /// # Errors
    /// When the store fails.
    async fn head(&self, partition: u16) -> Result<i64, StoreError>;

    /// Whether the store does its work, for a check.
    ///
    /// # Errors
    /// When the store fails.
    async fn ping(&self) -> Result<(), StoreError> {
        self.find("", "").await.map(drop)
    }

    /// How many partitions there are. It never changes for a store.
    fn partitions(&self) -> u16;

    /// Hints that a partition has new commits; subscribe before reading.
    fn beats(&self, partition: u16) -> Beats;
}

#[cfg(test)]
mod tests {
    use meshwork_sql::Error;

    use super::*;

    #[test]
    fn e8_a_failure_of_its_database_means_what_it_means_elsewhere() {
        for (error, kind) in [
            (Error::NotWritten, Kind::Unavailable),
            (Error::OutcomeUnknown("lost".to_owned()), Kind::OutcomeUnknown),
            (Error::Shards("not these".to_owned()), Kind::Damaged),
        ] {
            assert_eq!(StoreError::from(error).kind(), kind);
        }
    }
}

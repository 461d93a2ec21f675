//! The port: what a consumer keeps in its own database.

use async_trait::async_trait;
use meshwork_sql::Error;
use uuid::Uuid;

use crate::dead_letters::{DeadLetter, LetterCursor, ParkedSummary};
use crate::{Envelope, Position};

/// What a consumer keeps in its own database: how far it has come, and the events that are parked.
#[async_trait]
pub trait ConsumerState: Send + Sync + 'static {
    /// The consumer.
    fn consumer(&self) -> &str;

    /// Whether the consumer waits until its state can be asked; else it goes on where the bus says.
    fn is_required(&self) -> bool {
        true
    }

    /// How many events may be handled at once, so that whoever else uses the database still gets their turn.
    fn concurrency(&self) -> usize;

    /// Up to where a partition of a stream was handled or parked; `None` when that was never noted.
    ///
    /// It is behind what the bus knows once the database was restored from an older copy: what came since is handled again.
    ///
    /// # Errors
    /// When the store fails.
    async fn position(&self, stream: &str, partition: u16) -> Result<Option<Position>, Error>;

    /// Notes that everything up to and including `position` was handled or parked; an older one takes nothing back.
    ///
    /// # Errors
    /// When the store fails.
    async fn reached(&self, stream: &str, position: Position) -> Result<(), Error>;

    /// The aggregates behind `after`, in their order, at most `limit`, each with the version that was applied last: for an
    /// audit. A consumer without a gate notes none.
    ///
    /// # Errors
    /// When the store fails.
    async fn applied(&self, after: &str, limit: usize) -> Result<Vec<(String, i64)>, Error>;

    /// Parks an event that can't be handled, with the reason. One that is parked already has been tried once more; one that
    /// was applied meanwhile is left alone.
    ///
    /// # Errors
    /// When the store fails.
    async fn park(&self, stream: &str, event: &Envelope, reason: &str) -> Result<(), Error>;

    /// Parks an event behind earlier ones of its aggregate; returns false when none of them is parked any more, so that it
    /// can be handled.
    ///
    /// # Errors
    /// When the store fails.
    async fn queue(&self, stream: &str, event: &Envelope) -> Result<bool, Error>;

    /// Whether an event of the aggregate before `version` is parked: for consumers whose effect isn't in this database, and
    /// which therefore have no gate.
    ///
    /// # Errors
    /// When the store fails.
    async fn blocks(&self, subject: &str, version: i64) -> Result<bool, Error>;

    /// The first parked event of an aggregate.
    ///
    /// # Errors
    /// When the store fails.
    async fn first_of(&self, subject: &str) -> Result<Option<DeadLetter>, Error>;

    /// Aggregates with parked events, of one stream or all, in their order behind `after`, at most `limit`. With `due`, only those whose first event
    /// hasn't been tried for a while: 30 s after its first try, and twice as long after each, up to an hour.
    ///
    /// # Errors
    /// When the store fails.
    async fn aggregates(
        &self,
        stream: Option<&str>,
        after: &str,
        due: bool,
        limit: usize,
    ) -> Result<Vec<String>, Error>;

    /// The letters of an aggregate, or all; newest first.
    ///
    /// # Errors
    /// When the store fails.
    async fn list(
        &self,
        subject: Option<&str>,
        behind: Option<LetterCursor>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error>;

    /// A letter by its id.
    ///
    /// # Errors
    /// When the store fails.
    async fn get(&self, id: Uuid) -> Result<Option<DeadLetter>, Error>;

    /// Forgets a letter: its event has been handled.
    ///
    /// # Errors
    /// When the store fails.
    async fn remove(&self, subject: &str, version: i64) -> Result<(), Error>;

    /// Gives an event up, with what is missing before it and what is parked before it: the aggregate goes on behind it.
    /// Returns the aggregate; `None` when there is no such letter.
    ///
    /// # Errors
    /// When the store fails.
    async fn discard(&self, id: Uuid) -> Result<Option<String>, Error>;

    /// What is parked, in short.
    ///
    /// # Errors
    /// When the store fails.
    async fn summary(&self) -> Result<ParkedSummary, Error>;
}

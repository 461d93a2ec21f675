//! A consumer's state that may be out of reach.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_sql::{Error, Kind};
use tokio::time::Instant;
use uuid::Uuid;

use crate::dead_letters::{DeadLetter, LetterCursor, ParkedSummary};
use crate::state::ConsumerState;
use crate::{Envelope, Position};

/// For how long a state that could not be reached isn't asked for what can be done without.
const AGAIN: Duration = Duration::from_secs(5);

/// The state of a consumer whose effects lie elsewhere and are harmless when they come again: it goes on while its state can't be
/// reached, and isn't required ([`ConsumerState::is_required`]). Positions are not noted then, and what is parked blocks
/// nothing; to park an event waits for the state. Where the consumer goes on can't be told without it, and that is an error.
pub struct BestEffort {
    inner: Arc<dyn ConsumerState>,
    failed_at: Mutex<Option<Instant>>,
}

impl BestEffort {
    /// Goes on without `inner` while that can't be reached.
    pub fn new(inner: Arc<dyn ConsumerState>) -> Self {
        Self { inner, failed_at: Mutex::new(None) }
    }

    /// What the state answers; else, while it can't be reached, what is `otherwise`.
    async fn or<T>(&self, asked: impl Future<Output = Result<T, Error>>, otherwise: T) -> Result<T, Error> {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if failed_at.is_some_and(|at| at.elapsed() < AGAIN) {
            return Ok(otherwise);
        }
        match asked.await {
            Err(error) if self.is_out_of_reach(&error) => Ok(otherwise),
            answer => answer,
        }
    }

    /// Whether an error tells that the state can't be reached; if so, it isn't asked for a while.
    fn is_out_of_reach(&self, error: &Error) -> bool {
        if !matches!(error.kind(), Kind::Unavailable | Kind::OutcomeUnknown) {
            return false;
        }
        tracing::warn!(consumer = self.inner.consumer(), %error, "a consumer goes on without its state");
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        true
    }
}

#[async_trait]
impl ConsumerState for BestEffort {
    fn consumer(&self) -> &str {
        self.inner.consumer()
    }

    fn is_required(&self) -> bool {
        false
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    async fn position(&self, stream: &str, partition: u16) -> Result<Option<Position>, Error> {
        // Asked whenever a partition begins, so that one that is there again counts at once.
        self.inner.position(stream, partition).await.inspect_err(|error| _ = self.is_out_of_reach(error))
    }

    async fn reached(&self, stream: &str, position: Position) -> Result<(), Error> {
        self.or(self.inner.reached(stream, position), ()).await
    }

    async fn applied(&self, after: &str, limit: usize) -> Result<Vec<(String, i64)>, Error> {
        self.inner.applied(after, limit).await
    }

    async fn blocks(&self, subject: &str, version: i64) -> Result<bool, Error> {
        self.or(self.inner.blocks(subject, version), false).await
    }

    async fn park(&self, stream: &str, event: &Envelope, reason: &str) -> Result<(), Error> {
        self.inner.park(stream, event, reason).await
    }

    async fn queue(&self, stream: &str, event: &Envelope) -> Result<bool, Error> {
        self.inner.queue(stream, event).await
    }

    async fn first_of(&self, subject: &str) -> Result<Option<DeadLetter>, Error> {
        self.inner.first_of(subject).await
    }

    async fn aggregates(
        &self,
        stream: Option<&str>,
        after: &str,
        due: bool,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        self.inner.aggregates(stream, after, due, limit).await
    }

    async fn list(
        &self,
        subject: Option<&str>,
        behind: Option<LetterCursor>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.inner.list(subject, behind, limit).await
    }

    async fn get(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        self.inner.get(id).await
    }

    async fn remove(&self, subject: &str, version: i64) -> Result<(), Error> {
        self.inner.remove(subject, version).await
    }

    async fn discard(&self, id: Uuid) -> Result<Option<String>, Error> {
        self.inner.discard(id).await
    }

    async fn summary(&self) -> Result<ParkedSummary, Error> {
        self.inner.summary().await
    }
}

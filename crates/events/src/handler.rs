//! The port: what a consumer does with an event.

use async_trait::async_trait;

use crate::Envelope;

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may work later: a store is down, say. It is tried again for about 20 s, while the events behind it in its partition
    /// wait but for those that are under way; then it is parked, and tried again now and then.
    #[error("{0}")]
    Retry(String),
    /// It will never work: its bytes can't be understood, say. It is parked, and so are the later events of its
    /// aggregate; others go on (ES-7).
    #[error("{0}")]
    Poison(String),
    /// Events before it are missing (NT-5). They are fetched from their owner and handed over first; if that can't be, the
    /// aggregate is parked, and others go on.
    #[error("the events behind version {last} are missing")]
    Hole {
        /// The version that was applied last; 0 for none.
        last: i64,
    },
    /// An earlier event of its aggregate is parked. It is parked behind it.
    #[error("an earlier event of the aggregate is parked")]
    Parked,
}

impl From<meshwork_sql::Error> for HandleError {
    fn from(error: meshwork_sql::Error) -> Self {
        HandleError::Retry(error.to_string())
    }
}

/// What a consumer does with an event.
///
/// Events of one aggregate come one after the other, in order; those of several aggregates at once, in any order.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Applies the event. It may come again: the [`inbox`](crate::inbox), or the event's id, tells.
    ///
    /// # Errors
    /// See [`HandleError`].
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError>;
}

//! What is wrong with a server.

/// The code of a duplicate key.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The server can't be reached, or refuses.
    #[error("MongoDB can't be used: {0}")]
    Server(String),
    /// The server lacks what the store stands on (MG-5).
    #[error("this server can't keep an event store: {0}")]
    Unfit(String),
    /// The settings can't be used, or contradict the store that is there.
    #[error("{0}")]
    Settings(String),
    /// The store lacks what somebody else makes ([`MongoOptions::migrations`](super::MongoOptions::migrations)); nothing was made.
    #[error("the event store is not at this release yet: {0}")]
    Pending(String),
}

impl From<mongodb::error::Error> for OpenError {
    fn from(error: mongodb::error::Error) -> Self {
        OpenError::Server(error.to_string())
    }
}

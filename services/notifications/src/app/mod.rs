//! The use cases.

mod commands;
mod queries;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::ports::{Clock, Mailer, NotificationStore, Recipients, StoreError};

/// The use cases over their ports.
pub struct Notifications {
    store: Arc<dyn NotificationStore>,
    recipients: Arc<dyn Recipients>,
    mailer: Arc<dyn Mailer>,
    clock: Arc<dyn Clock>,
    /// Wakes who sends.
    due: Notify,
}

impl Notifications {
    /// The use cases over these ports.
    pub fn new(
        store: Arc<dyn NotificationStore>,
        recipients: Arc<dyn Recipients>,
        mailer: Arc<dyn Mailer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, recipients, mailer, clock, due: Notify::new() }
    }
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The caller may not see it, whether it exists or not.
    #[error("only staff and the recipient may see a notification")]
    NotAllowed,
    /// It doesn't exist; only said to those who may see all.
    #[error("there is no such notification")]
    NotFound,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

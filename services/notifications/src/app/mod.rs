//! The use cases.

mod commands;
mod queries;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::Freshness;
use crate::ports::{Clock, Mailer, NotificationStore, Recipients, StoreError};

/// What the settings decide.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// For how long a try has its letter for itself, unless it is under way and its lease is renewed.
    pub lease: Duration,
    /// For how long a letter is tried.
    pub give_up_after: Duration,
    /// For how long what was sent or given up is kept.
    pub retention: Duration,
    /// Which events are mailed about.
    pub freshness: Freshness,
}

/// The use cases over their ports.
pub struct Notifications {
    store: Arc<dyn NotificationStore>,
    recipients: Arc<dyn Recipients>,
    mailer: Arc<dyn Mailer>,
    clock: Arc<dyn Clock>,
    rules: Rules,
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
        rules: Rules,
    ) -> Self {
        Self { store, recipients, mailer, clock, rules, due: Notify::new() }
    }
}

/// Why a call is refused or has failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The caller may not see it, whether it exists or not.
    #[error("only staff and the recipient may see a notification")]
    NotAllowed,
    /// It doesn't exist; only said to those who may see all.
    #[error("there is no such notification")]
    NotFound,
    /// It can't be sent again before this try has ended.
    #[error("the notification is being sent at this moment; try again when that has ended")]
    BeingSent,
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

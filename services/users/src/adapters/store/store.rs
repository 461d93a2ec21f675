//! The store itself.

use meshwork_sql::WalPosition;

use super::super::{SOURCE, USERS};
use super::Database;
use super::inbox::Inbox;
use super::outbox::Outbox;

/// Accounts, sessions and claims in one database. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(super) db: Database,
    pub(super) outbox: Outbox,
}

impl Store {
    /// The store in `db`, which was opened with this module's components; its events have the partitions from `first` on.
    pub fn over(db: Database, first: u16) -> Self {
        Self { outbox: Outbox::numbered(db.clone(), SOURCE, first).with_history(USERS), db }
    }

    /// Whether the store does its work, for a check.
    ///
    /// # Errors
    /// When it fails.
    pub async fn ping(&self) -> Result<(), meshwork_sql::Error> {
        self.db.ping().await
    }

    /// The events that the accounts' changes have written.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// How far these events are published, and those that can't be.
    pub fn inbox(&self) -> Inbox {
        Inbox::new(self.db.clone(), SOURCE)
    }

    /// The place of all that was written before this call, for reads that must show it (RR-).
    pub async fn position(&self) -> Option<WalPosition> {
        self.db.position().await
    }
}

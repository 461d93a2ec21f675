//! The embedded store: accounts, sessions and the outbox in one SQLite database.

#[cfg(test)]
mod guards;
mod rows;
mod sessions;
mod users;

use meshwork_events::inbox::sqlite::{self as inbox, Inbox};
use meshwork_events::outbox::sqlite::{self as outbox, Outbox};
use meshwork_sql::replay::sqlite as answers;
use meshwork_sql::{Component, Sqlite, WorkError};
use sqlx::migrate::Migrator;

use crate::ports::{ChangeError, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// What the database is made of.
pub const COMPONENTS: &[Component] = &[
    Component { name: "users", migrator: &MIGRATOR },
    answers::COMPONENT,
    outbox::COMPONENTS[0],
    outbox::COMPONENTS[1],
    outbox::COMPONENTS[2],
    inbox::COMPONENTS[0],
    inbox::COMPONENTS[1],
    inbox::COMPONENTS[2],
];

/// What this service is called in its events.
pub const SOURCE: &str = "users";

/// Accounts and sessions in SQLite. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    db: Sqlite,
    outbox: Outbox,
}

impl SqliteStore {
    /// The store in `db`, which was opened with [`COMPONENTS`].
    pub fn new(db: Sqlite) -> Self {
        let outbox = Outbox::new(db.clone(), SOURCE);
        Self { db, outbox }
    }

    /// The events that the accounts' changes have written.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// How far these events are published, and those that can't be.
    pub fn inbox(&self) -> Inbox {
        Inbox::new(self.db.clone(), SOURCE)
    }
}

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        StoreError::new(error)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::new(error)
    }
}

impl From<meshwork_sql::Error> for ChangeError {
    fn from(error: meshwork_sql::Error) -> Self {
        ChangeError::Store(error.into())
    }
}

impl WorkError for ChangeError {
    fn is_conflict(&self) -> bool {
        matches!(self, ChangeError::Conflict)
    }
}

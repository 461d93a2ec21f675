//! SQL stores: how they are opened, migrated and written to.
//!
//! [`Sqlite`] is the embedded store: one file, one writer that commits the work of many callers at once, many readers.
//! [`Postgres`] is the real one: a pool of connections to a server.
//! [`Component`] is a set of tables with its migrations; a store is the sum of its components.
//! [`replay`] makes a write repeatable by a request id.

mod micros;
mod migrate;
mod postgres;
pub mod replay;
mod sqlite;

pub use micros::{from_micros, to_micros};
pub use migrate::{AppliedMigration, Component};
pub use postgres::{Postgres, PostgresOptions};
pub use sqlite::Sqlite;

/// What can go wrong between us and a SQL store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's folder or file can't be used.
    #[error("can't open the database {path}: {source}")]
    Open {
        /// The database file.
        path: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A component's tables can't be brought to its version.
    #[error("can't migrate the tables of {component}: {source}")]
    Migrate {
        /// The component.
        component: &'static str,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement or a commit has failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The commit has failed; what was written may be on the disk all the same.
    #[error("the commit has failed, and its outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The work of a transaction has panicked; it was rolled back.
    #[error("the work of a transaction has panicked; it was rolled back")]
    Panicked,
    /// The transaction could not begin or the store is closing; nothing was written.
    #[error("nothing was written: the transaction could not begin, or the database is being closed; try again")]
    NotWritten,
}

impl Error {
    /// Whether the statement broke a unique index or a primary key.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Error::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

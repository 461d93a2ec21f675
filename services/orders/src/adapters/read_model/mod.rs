//! The read model: view, parked orders and checkpoints, which change in one transaction, in versions.
//!
//! Embedded it lies in SQLite, else in PostgreSQL. The queries are the same text for both: `lists.rs`, `apply.rs` and
//! `versions.rs` are compiled once for each driver, below the modules that name it.

mod order_row;
pub mod postgres;
pub mod sqlite;

pub use postgres::PostgresReadModel;
pub use sqlite::SqliteReadModel;

use crate::ports::StoreError;

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        match error {
            meshwork_sql::Error::OutcomeUnknown(cause) => StoreError::OutcomeUnknown(cause),
            error => StoreError::Unavailable(error.to_string()),
        }
    }
}

//! The embedded store: SQLite.
//!
//! Pieces are moved by conditional updates: no decision rests on a number that was read before. The checks of the tables
//! guard the invariants once more.

mod catalogue;
mod inventory;
mod reservations;
mod rows;
mod stock;

use std::path::Path;
use std::sync::Arc;

use meshwork_chassis::request::RequestKey;
use meshwork_events::inbox::sqlite::{self as inbox, Inbox};
use meshwork_events::outbox::sqlite::{self as outbox, Outbox};
use meshwork_events::{ConsumerState, Source};
use meshwork_sql::replay::sqlite as answers;
use meshwork_sql::replay::{self, Known};
use meshwork_sql::{AppliedMigration, Component, Sqlite};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use crate::ports::StoreError;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// The tables of the catalogue and the inventory.
pub const COMPONENT: Component = Component { name: "products", migrator: &MIGRATOR };

/// All that the database holds.
const COMPONENTS: &[Component] = &[
    COMPONENT,
    answers::COMPONENT,
    outbox::COMPONENTS[0],
    outbox::COMPONENTS[1],
    inbox::COMPONENTS[0],
    inbox::COMPONENTS[1],
];

/// What this service is called as a source of events.
const SOURCE: &str = "products";

/// The database file in its folder.
const FILE: &str = "products.db";

/// The catalogue and the inventory in one SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqliteStore {
    db: Sqlite,
    outbox: Outbox,
}

impl SqliteStore {
    /// Opens the store in `folder`, making it when missing.
    ///
    /// # Errors
    /// When its file can't be opened or migrated.
    pub async fn open(folder: &Path) -> Result<Self, meshwork_sql::Error> {
        let db = Sqlite::open(&folder.join(FILE), COMPONENTS).await?;
        Ok(Self { outbox: Outbox::new(db.clone(), SOURCE), db })
    }

    /// Migrates the store in `folder` without keeping it open.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn migrate(folder: &Path) -> Result<Vec<AppliedMigration>, meshwork_sql::Error> {
        Sqlite::migrate(&folder.join(FILE), COMPONENTS).await
    }

    /// Whether the store does its work, for a check.
    ///
    /// # Errors
    /// When it fails.
    pub async fn ping(&self) -> Result<(), meshwork_sql::Error> {
        self.db.ping().await
    }

    /// Where the consumer of this name stands, and what it has parked.
    pub fn inbox(&self, consumer: &'static str) -> Arc<dyn ConsumerState> {
        Arc::new(Inbox::new(self.db.clone(), consumer))
    }

    /// What it announces, for the relay.
    pub fn events(&self) -> Arc<dyn Source> {
        Arc::new(self.outbox.clone())
    }
}

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        use meshwork_sql::Error;
        match error {
            Error::Database(error) => error.into(),
            Error::OutcomeUnknown(cause) => StoreError::OutcomeUnknown(cause),
            Error::NotWritten | Error::Open { .. } => StoreError::Unavailable(error.to_string()),
            Error::Panicked | Error::Migrate { .. } => damaged(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        let passes = match &error {
            Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed | Error::Io(_) => true,
            Error::Database(error) => error.code().and_then(|code| code.parse().ok()).is_some_and(is_outage),
            _ => false,
        };
        if passes { StoreError::Unavailable(error.to_string()) } else { damaged(error) }
    }
}

/// Whether SQLite's result code tells of the file, the disk or the memory, and not of what the file holds: READONLY,
/// BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, CANTOPEN or PROTOCOL, with any extension.
fn is_outage(code: i32) -> bool {
    matches!(code & 0xff, 5..=10 | 13..=15)
}

/// What the store holds can't be understood, or isn't what it must be.
fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(what.to_string())
}

fn replay_request(key: &RequestKey) -> replay::Request {
    replay::Request { principal: key.principal.clone(), method: key.method, id: key.id.clone(), hash: key.hash }
}

/// The answer that a request was given before.
async fn answer_before<T: DeserializeOwned>(
    connection: &mut SqliteConnection,
    request: Option<&RequestKey>,
) -> Result<Option<T>, StoreError> {
    let Some(key) = request else { return Ok(None) };
    match answers::find(connection, &replay_request(key)).await? {
        Known::New => Ok(None),
        Known::Reused => Err(StoreError::RequestReused),
        Known::Answered(answer) => serde_json::from_slice(&answer).map(Some).map_err(damaged),
    }
}

/// Keeps the answer to a request, for when it comes again.
async fn keep_answer<T: Serialize>(
    connection: &mut SqliteConnection,
    request: Option<&RequestKey>,
    answer: &T,
) -> Result<(), StoreError> {
    let Some(key) = request else { return Ok(()) };
    let answer = serde_json::to_vec(answer).map_err(damaged)?;
    answers::store(connection, &replay_request(key), &answer).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    fn unavailable(error: impl Into<StoreError>) -> bool {
        match error.into() {
            StoreError::Unavailable(_) => true,
            StoreError::Damaged(_) => false,
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn a_locked_file_is_an_outage_and_a_broken_rule_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        SqliteStore::migrate(folder.path()).await.unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join(FILE)).busy_timeout(Duration::ZERO);
        let (mut one, mut other) = (options.connect().await.unwrap(), options.connect().await.unwrap());
        sqlx::query("BEGIN IMMEDIATE").execute(&mut one).await.unwrap();
        assert!(unavailable(sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap_err()));
        sqlx::query("ROLLBACK").execute(&mut one).await.unwrap();
        for sql in ["INSERT INTO stock VALUES ('lamp', -1, 0, 0, 0, -1, 0)", "SELECT nothing FROM stock"] {
            assert!(!unavailable(sqlx::query(sql).execute(&mut other).await.unwrap_err()), "{sql}");
        }
        let unread = sqlx::query_scalar::<_, i64>("SELECT 'text'").fetch_one(&mut other).await.unwrap_err();
        assert!(!unavailable(unread));
    }

    #[test]
    fn each_failure_of_the_store_has_its_kind() {
        assert!(unavailable(sqlx::Error::PoolTimedOut));
        assert!(unavailable(meshwork_sql::Error::NotWritten));
        assert!(!unavailable(meshwork_sql::Error::Panicked));
        let unknown = meshwork_sql::Error::OutcomeUnknown("the disk is gone".to_owned());
        assert!(matches!(unknown.into(), StoreError::OutcomeUnknown(_)));
    }
}

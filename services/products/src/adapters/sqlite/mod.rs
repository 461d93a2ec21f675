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
use meshwork_events::outbox::Outbox;
use meshwork_events::{Source, inbox, outbox};
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
const COMPONENTS: &[Component] = &[COMPONENT, replay::COMPONENT, outbox::COMPONENT, inbox::COMPONENT];

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

    /// What it announces, for the relay.
    pub fn events(&self) -> Arc<dyn Source> {
        Arc::new(self.outbox.clone())
    }
}

impl From<meshwork_sql::Error> for StoreError {
    fn from(error: meshwork_sql::Error) -> Self {
        StoreError::Failed(error.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::Failed(error.to_string())
    }
}

/// What the store holds can't be understood, or isn't what it must be.
fn damaged(what: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("the store is damaged: {what}"))
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
    match replay::find(connection, &replay_request(key)).await? {
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
    let answer = serde_json::to_vec(answer).map_err(|error| StoreError::Failed(error.to_string()))?;
    replay::store(connection, &replay_request(key), &answer).await?;
    Ok(())
}

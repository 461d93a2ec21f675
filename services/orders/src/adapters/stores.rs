//! The stores that the settings name, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshwork_chassis::ServeError;
use meshwork_chassis::checks::Check;
use meshwork_chassis::start::{Start, database_error};
use meshwork_events::ConsumerState;
use meshwork_eventstore::mongodb::{MongoOptions, MongoServer, OpenError};
use meshwork_eventstore::projection::ProjectionStore;
use meshwork_eventstore::{EventStore, SnapshotStore, SqliteEventStore};
use meshwork_sql::{AppliedMigration, Migrations, PostgresOptions};

use super::read_model::{PostgresReadModel, SqliteReadModel};
use super::stock_events::CONSUMER;
use crate::config::{Config, PARTITIONS, servers};
use crate::ports::OrderReadModel;

/// The stores of the service.
pub struct Stores {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// Snapshots of what has many of them.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// The lists, for queries.
    pub lists: Arc<dyn OrderReadModel>,
    /// The lists, for those who keep them.
    pub view: Arc<dyn ProjectionStore>,
    /// Where the consumer of the inventory's events stands.
    pub inbox: Arc<dyn ConsumerState>,
    /// Whether the replicas of the lists are read from, if there are any.
    pub replicas: Option<Check>,
}

fn events_file(data: &Path) -> PathBuf {
    data.join("events.db")
}

fn view_file(data: &Path) -> PathBuf {
    data.join("view.db")
}

/// A database in a folder can't be opened.
fn folder_error(error: meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "look whether the data folder can be written and the disk has room")
}

fn mongo_error(options: &MongoOptions, error: &OpenError) -> ServeError {
    let hint = match error {
        OpenError::Server(_) => "look whether `orders.mongo.uri` names a server that runs and admits this account",
        OpenError::Unfit(_) => {
            "use another server, or leave `orders.mongo.uri` empty to keep events in the data folder"
        }
        OpenError::Settings(_) => "correct the settings in `orders.mongo`",
        OpenError::Pending(_) => "run `meshwork migrate`",
    };
    ServeError::new(format!("the order events at {}: {error}", servers(&options.uri)), hint)
        .passing(matches!(error, OpenError::Server(_) | OpenError::Pending(_)))
}

fn postgres_error(config: &Config, error: &meshwork_sql::Error) -> ServeError {
    let hint = match error {
        meshwork_sql::Error::Locked { .. } => "wait for who holds the lock, or end it, and try again",
        _ => {
            "look whether `orders.postgres.url` names a database that is there and whose server runs and admits this account"
        }
    };
    database_error(format!("the order lists at {}", config.postgres.shown()), error, hint)
}

/// Opens the stores, making what is missing of them, or waiting for it as `start` does. `None`: the service is to stop.
///
/// # Errors
/// When one can't be opened.
pub async fn open(config: &Config, start: &Start<'_>) -> Result<Option<Stores>, ServeError> {
    let (on_mongo, on_postgres) = (config.mongo.options()?.is_some(), config.postgres.options().is_some());
    let Some((events, snapshots)) = start.open(on_mongo, || open_events(config)).await? else { return Ok(None) };
    #[cfg(feature = "ablation")]
    let events = super::planted::store(events);
    let lists = start.open(on_postgres, || open_lists(config)).await?;
    let Some((lists, view, inbox, replicas)) = lists else { return Ok(None) };
    Ok(Some(Stores { events, snapshots, lists, view, inbox, replicas }))
}

/// The events, and the snapshots of what has many of them.
type Events = (Arc<dyn EventStore>, Arc<dyn SnapshotStore>);

async fn open_events(config: &Config) -> Result<Events, ServeError> {
    let opened: Events = match config.mongo.options()? {
        Some(options) => {
            let options = MongoOptions { migrations: config.migrations.into(), ..options };
            let store = MongoServer::open(&options).await.map_err(|error| mongo_error(&options, &error))?;
            let store = Arc::new(store);
            (store.clone(), store)
        }
        None => {
            let store = SqliteEventStore::open(&events_file(&config.data), PARTITIONS).await;
            let store = Arc::new(store.map_err(folder_error)?);
            (store.clone(), store)
        }
    };
    Ok(opened)
}

/// The lists, for queries and for those who keep them; where the consumer stands; and a check of the replicas.
type Lists = (Arc<dyn OrderReadModel>, Arc<dyn ProjectionStore>, Arc<dyn ConsumerState>, Option<Check>);

async fn open_lists(config: &Config) -> Result<Lists, ServeError> {
    let opened: Lists = match config.postgres.options() {
        Some(options) => {
            let options = PostgresOptions { migrations: config.migrations.into(), ..options };
            let view = PostgresReadModel::open(&options).await.map_err(|error| postgres_error(config, &error))?;
            let replicas = view.replicas_check();
            let view = Arc::new(view);
            (view.clone(), view.clone(), view.inbox(CONSUMER), replicas)
        }
        None => {
            let view = SqliteReadModel::open(&view_file(&config.data)).await.map_err(folder_error)?;
            let view = Arc::new(view);
            (view.clone(), view.clone(), view.inbox(CONSUMER), None)
        }
    };
    Ok(opened)
}

/// Brings the stores to this release.
///
/// # Errors
/// When one can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    let mut applied = match config.mongo.options()? {
        Some(options) => {
            // Its indexes are made by opening it; there are no numbered migrations.
            let options = MongoOptions { migrations: Migrations::Apply, ..options };
            MongoServer::open(&options).await.map_err(|error| mongo_error(&options, &error))?;
            Vec::new()
        }
        None => SqliteEventStore::migrate(&events_file(&config.data)).await.map_err(folder_error)?,
    };
    applied.extend(match config.postgres.options() {
        Some(options) => PostgresReadModel::migrate(&options).await.map_err(|error| postgres_error(config, &error))?,
        None => SqliteReadModel::migrate(&view_file(&config.data)).await.map_err(folder_error)?,
    });
    Ok(applied)
}

/// Where the settings place the events and the lists, in words for people.
pub fn places(config: &Config) -> [(&'static str, String); 2] {
    let events = match config.mongo.uri.expose() {
        "" => format!("SQLite, {}", events_file(&config.data).display()),
        uri => format!("MongoDB, {} (database {})", servers(uri), config.mongo.database),
    };
    let lists = match config.postgres.url.expose() {
        "" => format!("SQLite, {}", view_file(&config.data).display()),
        _ => format!("PostgreSQL, {}", config.postgres.shown()),
    };
    [("order events", events), ("order lists", lists)]
}

//! The store that the settings name, opened.

use std::sync::Arc;

use meshwork_chassis::checks::Check;
use meshwork_chassis::config::{PostgresConfig, RetentionConfig};
use meshwork_chassis::events::StockReader;
use meshwork_chassis::retention::{Retention, STEP};
use meshwork_chassis::start::database_error;
use meshwork_chassis::{ServeError, checks};
use meshwork_events::{ConsumerState, Published, Source, StreamReader};
use meshwork_sql::{AppliedMigration, PostgresOptions};

use super::store::sqlite::file;
use super::store::{PostgresStore, SqliteStore};
use crate::Config;
use crate::ports::{Catalogue, Inventory};

/// Makes the tasks that remove what is past its retention, once it is known what is published.
type Pruning = Box<dyn FnOnce(Published, &RetentionConfig) -> Retention + Send>;

/// The schema of our tables: services may share a database.
const SCHEMA: &str = "products";

/// The store by its parts.
pub struct Stores {
    /// The products.
    pub catalogue: Arc<dyn Catalogue>,
    /// The stocks and reservations.
    pub inventory: Arc<dyn Inventory>,
    /// The stocks, for an audit.
    pub stocks: Arc<dyn StockReader>,
    /// Where our consumer stands.
    pub inbox: Arc<dyn ConsumerState>,
    /// What is announced, for the relay.
    pub events: Arc<dyn Source>,
    /// What was announced, by its aggregate.
    pub history: Arc<dyn StreamReader>,
    /// Whether the store does its work.
    pub check: Check,
    /// Whether its replicas are read from, if it has any.
    pub replicas: Option<Check>,
    /// What removes what has done its work.
    pub pruning: Pruning,
    /// What the database is called, for what is kept of it elsewhere.
    pub identity: String,
}

/// The parts of a store, whatever its driver.
macro_rules! parts {
    ($store:expr, $consumer:expr, $check:path, $replicas:expr, $identity:expr) => {{
        let store = $store;
        #[cfg(feature = "ablation")]
        let store = match crate::adapters::store::Planted::chosen() {
            Some(bug) => store.with_bug(bug),
            None => store,
        };
        let (inbox, outbox) = (store.inbox($consumer), store.outbox());
        let (state, events) = (inbox.clone(), outbox.clone());
        Stores {
            catalogue: Arc::new(store.clone()),
            inventory: Arc::new(store.clone()),
            stocks: Arc::new(store.clone()),
            inbox: Arc::new(inbox),
            events: Arc::new(outbox.clone()),
            history: Arc::new(outbox),
            check: $check("database", store, |store| async move { store.ping().await }),
            replicas: $replicas,
            identity: $identity,
            pruning: Box::new(move |published, retention| {
                let (keep_events, keep_inbox) = (retention.outbox, retention.inbox);
                Retention::new()
                    .job("outbox", move || {
                        let (events, published) = (events.clone(), published.clone());
                        async move { events.prune(&published, keep_events, STEP).await }
                    })
                    .job("inbox", move || {
                        let state = state.clone();
                        async move { state.prune(keep_inbox, STEP).await }
                    })
            }),
        }
    }};
}

/// Opens the store, making what is missing of it; `consumer` is whose inbox is wanted.
///
/// # Errors
/// When it can't be opened, or would begin anew on a server while the folder holds a shop.
pub async fn open(config: &Config, consumer: &'static str) -> Result<Stores, ServeError> {
    Ok(match options(config) {
        Some(options) => {
            let store = PostgresStore::open(&options).await.map_err(|error| postgres_error(config, &error))?;
            refuse_to_leave_behind(config, &store).await?;
            config.postgres.note_in(&config.data);
            // All instances share the server: none would be better than another without it.
            let replicas = store.replicas_check();
            let identity = store.identity().await.map_err(|error| postgres_error(config, &error))?;
            parts!(store, consumer, checks::shared, replicas, identity)
        }
        None => {
            PostgresConfig::refuse_note_in(&config.data, "products")?;
            let store = SqliteStore::open(&config.data).await.map_err(|error| folder_error(&error))?;
            let identity = store.identity().await.map_err(|error| folder_error(&error))?;
            parts!(store, consumer, checks::own, None, identity)
        }
    })
}

/// Refuses a database without products while there are some in the folder: whoever names a server for the first time would
/// find an empty shop.
async fn refuse_to_leave_behind(config: &Config, store: &PostgresStore) -> Result<(), ServeError> {
    if !file(&config.data).exists() || !store.is_new().await.map_err(|error| postgres_error(config, &error))? {
        return Ok(());
    }
    Err(ServeError::new(
        format!(
            "the folder {} holds the products of this shop, and the database {} has none",
            config.data.display(),
            config.postgres.shown()
        ),
        "take `products.postgres.url` out to go on with the folder, or move its file products.db away to begin anew in the \
         database",
    ))
}

/// Brings the store to this release.
///
/// # Errors
/// As [`open`].
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    match options(config) {
        Some(options) => PostgresStore::migrate(&options).await.map_err(|error| postgres_error(config, &error)),
        None => SqliteStore::migrate(&config.data).await.map_err(|error| folder_error(&error)),
    }
}

/// The database that the settings name, and our schema in it.
fn options(config: &Config) -> Option<PostgresOptions> {
    // What is cached is told apart by positions from what a caller has written.
    let positions = config.cache.enabled;
    let migrations = config.migrations.into();
    config.postgres.options().map(|options| PostgresOptions { schema: Some(SCHEMA), positions, migrations, ..options })
}

/// Where the settings place the store, in words for people.
pub fn place(config: &Config) -> String {
    if config.postgres.url.expose().is_empty() {
        format!("SQLite, {}", config.data.display())
    } else {
        format!("PostgreSQL, {}", config.postgres.shown())
    }
}

/// A database in a folder can't be opened.
fn folder_error(error: &meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "check that the folder exists, can be written to and has space left")
}

fn postgres_error(config: &Config, error: &meshwork_sql::Error) -> ServeError {
    database_error(
        format!("the products at {}", config.postgres.shown()),
        error,
        "look whether `products.postgres.url` names a database that is there, whose server runs, admits this account and lets it make a schema and tables",
    )
}

//! The store that the settings name, opened.

use std::sync::Arc;

use meshwork_chassis::checks::Check;
use meshwork_chassis::config::{PostgresConfig, RetentionConfig};
use meshwork_chassis::retention::{Retention, STEP};
use meshwork_chassis::start::database_error;
use meshwork_chassis::{ServeError, checks};
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::{ConsumerState, Published, Source, StreamReader};
use meshwork_sql::shards::{ShardOptions, Shards, SpaceSpec, Strategy};
use meshwork_sql::{AppliedMigration, PostgresOptions};

use super::sharded::{ShardedHistory, ShardedStore};
use super::store::sqlite::file;
use super::store::{CLAIMS, PostgresStore, SqliteStore, USERS, postgres};
use crate::Config;
use crate::ports::{ApiKeyStore, SessionStore, UserStore};

/// The schema of our tables: services may share a database.
const SCHEMA: &str = "users";
/// What the only database is called where no shards are configured.
const ONLY: &str = "main";

/// Makes the tasks that remove what is past its retention, once it is known what is published.
type Pruning = Box<dyn FnOnce(Published, &RetentionConfig) -> Retention + Send>;

/// The store by its parts.
pub struct Stores {
    /// The accounts.
    pub users: Arc<dyn UserStore>,
    /// The sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// The API keys.
    pub keys: Arc<dyn ApiKeyStore>,
    /// What was announced, by account.
    pub history: Arc<dyn StreamReader>,
    /// What each database announces.
    pub announcing: Vec<Announcing>,
    /// Whether the databases do their work, and their replicas are read from.
    pub checks: Vec<Check>,
    /// What the databases together are called, for what is kept of them elsewhere.
    pub identity: String,
}

/// What one database announces.
pub struct Announcing {
    /// What the database is called; `None` for the only one.
    pub name: Option<String>,
    /// What is announced, for the relay.
    pub events: Arc<dyn Source>,
    /// How far it is published, and what can't be.
    pub inbox: Arc<dyn ConsumerState>,
    /// What removes what has done its work.
    pub pruning: Pruning,
}

/// What a database announces, whatever its driver.
macro_rules! announcing {
    ($store:expr, $name:expr) => {{
        let (inbox, outbox) = ($store.inbox(), $store.outbox());
        let (state, events) = (inbox.clone(), outbox.clone());
        Announcing {
            name: $name,
            events: Arc::new(outbox),
            inbox: Arc::new(inbox),
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

/// Opens the store, making what is missing of it.
///
/// # Errors
/// When it can't be opened, or would begin anew on a server while the folder holds accounts.
pub async fn open(config: &Config) -> Result<Stores, ServeError> {
    let options = options(config);
    if options.is_empty() {
        PostgresConfig::refuse_note_in(&config.data, "users")?;
        let store = SqliteStore::open(&config.data).await.map_err(|error| folder_error(config, &error))?;
        let identity = store.identity().await.map_err(|error| folder_error(config, &error))?;
        return Ok(Stores {
            identity,
            users: Arc::new(store.clone()),
            sessions: Arc::new(store.clone()),
            keys: Arc::new(store.clone()),
            history: Arc::new(store.outbox()),
            announcing: vec![announcing!(store, None)],
            checks: vec![checks::own("database", store, |store| async move { store.ping().await })],
        });
    }
    let shards = open_shards(config).await?;
    refuse_to_leave_behind(config, &shards).await?;
    note_in_folder(config);
    let only = options.len() == 1;
    let (mut announcing, mut checks) = (Vec::new(), Vec::new());
    for (shard, options) in shards.shards().iter().zip(&options) {
        let (name, of) =
            if only { (None, String::new()) } else { (Some(shard.name.clone()), format!(" {}", shard.name)) };
        announcing.push(announcing!(shard.part, name));
        // All instances share the servers: none would be better than another without them.
        let ping = |store: PostgresStore| async move { store.ping().await };
        checks.push(checks::shared(&format!("database{of}"), shard.part.clone(), ping));
        if !options.postgres.replicas.is_empty() {
            checks.push(checks::replicas(&format!("replicas{of}"), shard.db.clone()));
        }
    }
    let store = ShardedStore::over(shards);
    Ok(Stores {
        // Each of the databases knows it, whichever is away.
        identity: store.shards().map().identity(),
        users: Arc::new(store.clone()),
        sessions: Arc::new(store.clone()),
        keys: Arc::new(store.clone()),
        history: Arc::new(ShardedHistory(store)),
        announcing,
        checks,
    })
}

/// Opens the databases of the shards: one, where no shards are configured.
///
/// # Errors
/// When the settings name no database, or one of them can't be used.
pub async fn open_shards(config: &Config) -> Result<Shards<PostgresStore>, ServeError> {
    let options = options(config);
    if options.is_empty() {
        return Err(ServeError::new(
            "the accounts lie in a folder, which has no shards",
            "set `users.postgres.url`, or `users.shards.databases`",
        ));
    }
    let spaces = spaces(config);
    let opened =
        Shards::open(&options, &postgres::COMPONENTS, &spaces, |shard, db| PostgresStore::over(db, shard * PARTITIONS));
    opened.await.map_err(|error| postgres_error(config, &error))
}

/// The spaces of keys: accounts as the settings say, and addresses and requests always by their hash.
fn spaces(config: &Config) -> [SpaceSpec; 2] {
    [
        SpaceSpec { id: USERS, name: "users", strategy: config.shards.strategy() },
        SpaceSpec { id: CLAIMS, name: "emails", strategy: Strategy::Hash },
    ]
}

/// Refuses databases without accounts while there are some in the folder: whoever names a server for the first time would find
/// nobody there.
async fn refuse_to_leave_behind(config: &Config, shards: &Shards<PostgresStore>) -> Result<(), ServeError> {
    if !file(&config.data).exists() {
        return Ok(());
    }
    let mut failed = None;
    for shard in shards.shards() {
        match shard.part.is_new().await {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        return Err(postgres_error(config, &error));
    }
    Err(ServeError::new(
        format!("the folder {} holds the accounts, and {} has none", config.data.display(), places(config)),
        "take `users.postgres.url` and `users.shards` out to go on with the folder, or move its file users.db away to begin anew in \
         the database",
    ))
}

/// Notes in the folder where the accounts are.
fn note_in_folder(config: &Config) {
    let first = config.shards.databases.first().map(|shard| shard.url.clone());
    let noted = PostgresConfig { url: first.unwrap_or_else(|| config.postgres.url.clone()), ..config.postgres.clone() };
    noted.note_in(&config.data);
}

/// Brings the store to this release.
///
/// # Errors
/// As [`open`].
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    let options = options(config);
    if options.is_empty() {
        return SqliteStore::migrate(&config.data).await.map_err(|error| folder_error(config, &error));
    }
    let migrated = Shards::<PostgresStore>::migrate(&options, &postgres::COMPONENTS, &spaces(config)).await;
    migrated.map_err(|error| postgres_error(config, &error))
}

/// The databases that the settings name, sorted by their numbers, and our schema in them; none where the accounts lie in the folder.
fn options(config: &Config) -> Vec<ShardOptions> {
    let mut options = databases(config);
    for shard in &mut options {
        shard.postgres.migrations = config.migrations.into();
        // What is cached is told apart by them from what a caller has written.
        shard.postgres.positions = config.cache.enabled;
    }
    options
}

/// As [`options`], whatever is cached of them.
fn databases(config: &Config) -> Vec<ShardOptions> {
    if !config.shards.is_set() {
        let only = config.postgres.options().map(|options| ShardOptions {
            id: 0,
            name: ONLY.to_owned(),
            postgres: PostgresOptions { schema: Some(SCHEMA), ..options },
        });
        return only.into_iter().collect();
    }
    let mut options = config.shards.options(&config.postgres, SCHEMA);
    options.sort_by_key(|shard| shard.id);
    options
}

/// Where the settings place the store, in words for people.
pub fn place(config: &Config) -> String {
    if options(config).is_empty() {
        format!("SQLite, {}", config.data.display())
    } else {
        format!("PostgreSQL, {}", places(config))
    }
}

/// The databases, without what is secret.
fn places(config: &Config) -> String {
    let options = options(config);
    let shown = |shard: &ShardOptions| shard.postgres.place().unwrap_or_default();
    match options.as_slice() {
        [only] => shown(only),
        several => {
            several.iter().map(|shard| format!("{} at {}", shard.name, shown(shard))).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A database in a folder can't be opened.
fn folder_error(config: &Config, error: &meshwork_sql::Error) -> ServeError {
    ServeError::new(error, format!("see that the folder {} can be written to and has room", config.data.display()))
}

fn postgres_error(config: &Config, error: &meshwork_sql::Error) -> ServeError {
    let key = if config.shards.is_set() { "users.shards.databases" } else { "users.postgres.url" };
    let hint = match error {
        // What the databases and the settings say of each other doesn't fit.
        meshwork_sql::Error::Shards(_) => format!(
            "correct `users.shards`: a database keeps the id and the name that it began with, and all keep the strategy; one that \
             began by `users.postgres.url` alone has `id = 0` and `name = \"{ONLY}\"`, and accounts that are spread by hash"
        ),
        _ => format!(
            "look whether `{key}` names what is there, whose server runs, admits this account and lets it make a schema and tables"
        ),
    };
    database_error(format!("the accounts at {}", places(config)), error, hint)
}

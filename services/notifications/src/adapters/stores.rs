//! The store that the settings name, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshwork_chassis::checks::Check;
use meshwork_chassis::config::PostgresConfig;
use meshwork_chassis::retention::{Retention, STEP};
use meshwork_chassis::start::database_error;
use meshwork_chassis::{ServeError, checks};
use meshwork_events::ConsumerState;
use meshwork_events::inbox::{postgres, sqlite};
use meshwork_sql::{AppliedMigration, Postgres, PostgresOptions, Sqlite};

use super::CONSUMER;
use super::store::postgres::{COMPONENTS as ON_POSTGRES, PostgresNotificationStore};
use super::store::sqlite::{COMPONENTS as IN_SQLITE, SqliteNotificationStore, end_leases};
use crate::Config;
use crate::ports::NotificationStore;

/// The schema of our tables: services may share a database.
const SCHEMA: &str = "notifications";

/// The store by its parts.
pub struct Stores {
    /// The notifications.
    pub notifications: Arc<dyn NotificationStore>,
    /// Where our consumer stands.
    pub inbox: Arc<dyn ConsumerState>,
    /// Whether the store does its work.
    pub check: Check,
    /// What removes what the inbox needn't know any more.
    pub retention: Retention,
}

fn file(data: &Path) -> PathBuf {
    data.join("notifications.db")
}

/// The parts of a store, whatever its driver.
macro_rules! parts {
    ($db:expr, $store:ident, $inbox:path, $config:expr, $check:path) => {{
        let db = $db;
        let inbox = $inbox(db.clone(), CONSUMER);
        let (state, keep) = (inbox.clone(), $config.inbox_retention);
        Stores {
            notifications: Arc::new($store::new(db.clone())),
            inbox: Arc::new(inbox),
            check: $check("database", db, |db| async move { db.ping().await }),
            retention: Retention::new().job("inbox", move || {
                let state = state.clone();
                async move { state.prune(keep, STEP).await }
            }),
        }
    }};
}

/// Opens the store, making what is missing of it.
///
/// # Errors
/// When it can't be opened, or when it is a new one and the notifications are in the folder.
pub async fn open(config: &Config) -> Result<Stores, ServeError> {
    Ok(match options(config) {
        Some(options) => {
            let db = Postgres::open(&options, &ON_POSTGRES).await.map_err(|error| postgres_error(config, &error))?;
            leave_nothing_behind(config, &db).await?;
            config.postgres.note_in(&config.data);
            // All instances share the server: none would be better than another without it.
            parts!(db, PostgresNotificationStore, postgres::Inbox::new, config, checks::shared)
        }
        None => {
            PostgresConfig::refuse_note_in(&config.data, "notifications")?;
            let db = Sqlite::open(&file(&config.data), &IN_SQLITE).await.map_err(|error| folder_error(&error))?;
            // A folder is one process's: what is under way was begun by one that has ended, and needn't wait for its lease.
            end_leases(&db).await.map_err(|error| folder_error(&error))?;
            parts!(db, SqliteNotificationStore, sqlite::Inbox::new, config, checks::own)
        }
    })
}

/// Refuses a database without notifications while the folder has some: letters that wait there would never be sent.
async fn leave_nothing_behind(config: &Config, db: &Postgres) -> Result<(), ServeError> {
    let file = file(&config.data);
    if !file.exists() {
        return Ok(());
    }
    let found = sqlx::query("SELECT 1 FROM notification LIMIT 1").fetch_optional(db.reader()).await;
    if found.map_err(|error| postgres_error(config, &error.into()))?.is_some() {
        return Ok(());
    }
    Err(ServeError::new(
        format!(
            "the folder {} holds the notifications of this shop, and the database {} has none",
            config.data.display(),
            config.postgres.shown()
        ),
        format!("take out `notifications.postgres.url`, or move {} away to begin anew in the database", file.display()),
    ))
}

/// Brings the store to this release.
///
/// # Errors
/// When it can't be opened.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    match options(config) {
        Some(options) => {
            Postgres::migrate(&options, &ON_POSTGRES).await.map_err(|error| postgres_error(config, &error))
        }
        None => Sqlite::migrate(&file(&config.data), &IN_SQLITE).await.map_err(|error| folder_error(&error)),
    }
}

/// The database that the settings name, and our schema in it.
fn options(config: &Config) -> Option<PostgresOptions> {
    let migrations = config.migrations.into();
    config.postgres.options().map(|options| PostgresOptions { schema: Some(SCHEMA), migrations, ..options })
}

/// Where the settings place the notifications and the letters, in words for people.
pub fn places(config: &Config) -> [(&'static str, String); 2] {
    let notifications = if config.postgres.url.expose().is_empty() {
        format!("SQLite, {}", file(&config.data).display())
    } else {
        format!("PostgreSQL, {}", config.postgres.shown())
    };
    let mails = match config.smtp.shown() {
        Some(server) => format!("SMTP, {server}"),
        None => config.data.join("mail").display().to_string(),
    };
    [("notifications", notifications), ("mails", mails)]
}

/// A database in a folder can't be opened.
fn folder_error(error: &meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "check that the folder `data` can be written to and holds this version's files")
}

fn postgres_error(config: &Config, error: &meshwork_sql::Error) -> ServeError {
    database_error(
        format!("the notifications at {}", config.postgres.shown()),
        error,
        "look whether `notifications.postgres.url` names a database that is there, whose server runs, admits this account and \
         lets it make a schema and tables",
    )
}

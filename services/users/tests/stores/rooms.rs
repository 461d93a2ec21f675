//! Where accounts are: in a file, in one database, or in three, cut by hash or by range.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::config::{PostgresConfig, Secret, ShardConfig, ShardsConfig, StrategyConfig};
use meshwork_testkit::Postgres;
use meshwork_users::Config;
use meshwork_users::adapters::sharded::ShardedStore;
use meshwork_users::adapters::stores::{self, Stores};
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

/// The longest that a condition may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The names of three shards, by their numbers.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Where accounts are, with a folder of the test's own.
pub(crate) struct Room {
    pub config: Config,
    folder: TempDir,
    _server: Option<Arc<Postgres>>,
}

/// A PostgreSQL for a test.
pub(crate) async fn server() -> Arc<Postgres> {
    Arc::new(tokio::task::spawn_blocking(Postgres::start).await.unwrap())
}

/// A new database.
pub(crate) async fn database(server: &Arc<Postgres>) -> String {
    let server = server.clone();
    tokio::task::spawn_blocking(move || server.database()).await.unwrap()
}

/// Few connections, since the tests' server has few, and patience for them.
fn pool() -> PostgresConfig {
    PostgresConfig { max_connections: 4, acquire_timeout: PATIENCE, ..PostgresConfig::default() }
}

/// The settings of three shards at these URLs.
pub(crate) fn shards_at(urls: &[String], strategy: StrategyConfig) -> ShardsConfig {
    let splits = match strategy {
        StrategyConfig::Hash => Vec::new(),
        StrategyConfig::Range => vec!["b".to_owned(), "o".to_owned()],
    };
    let database = |(id, url): (u16, &String)| ShardConfig {
        id,
        name: NAMES[usize::from(id)].to_owned(),
        url: Secret::new(url),
        replicas: Vec::new(),
    };
    ShardsConfig { strategy, splits, databases: (0..).zip(urls).map(database).collect() }
}

impl Room {
    /// With settings of its own; what isn't on servers is in the room's folder.
    pub(crate) fn of(server: Option<&Arc<Postgres>>, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            data: folder.path().join("users"),
            bus: folder.path().join("bus"),
            postgres: pool(),
            ..Config::default()
        };
        change(&mut config);
        Self { config, folder, _server: server.cloned() }
    }

    pub(crate) fn file() -> Self {
        Self::of(None, |_| {})
    }

    pub(crate) async fn one(server: &Arc<Postgres>) -> Self {
        let url = database(server).await;
        Self::of(Some(server), |config| config.postgres.url = Secret::new(url))
    }

    pub(crate) async fn three(server: &Arc<Postgres>, strategy: StrategyConfig) -> Self {
        let urls = [database(server).await, database(server).await, database(server).await];
        Self::of(Some(server), |config| config.shards = shards_at(&urls, strategy))
    }

    /// One of each.
    pub(crate) async fn all() -> [Self; 4] {
        let server = server().await;
        [
            Self::file(),
            Self::one(&server).await,
            Self::three(&server, StrategyConfig::Hash).await,
            Self::three(&server, StrategyConfig::Range).await,
        ]
    }

    /// Opens the store, as an instance of the service does.
    pub(crate) async fn open(&self) -> Stores {
        stores::open(&self.config).await.unwrap()
    }

    /// Opens the shards.
    pub(crate) async fn sharded(&self) -> Arc<ShardedStore> {
        Arc::new(ShardedStore::over(stores::open_shards(&self.config).await.unwrap()))
    }

    /// The URLs of the databases.
    pub(crate) fn urls(&self) -> Vec<String> {
        let shards = self.config.shards.databases.iter().map(|shard| shard.url.expose().to_owned());
        let one = Some(self.config.postgres.url.expose().to_owned()).filter(|url| !url.is_empty());
        shards.chain(one).collect()
    }

    /// The file of the database.
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("users").join("users.db")
    }

    /// Forgets all accounts, and what belongs to them.
    pub(crate) async fn empty(&self) {
        for url in self.urls() {
            execute_at(
                &url,
                "TRUNCATE users.users, users.sessions, users.refresh_tokens, users.api_keys, users.email_claims, users.claim_ends, \
                 users.request_homes, users.replay, users.outbox, users.outbox_head, users.outbox_history",
            )
            .await;
        }
    }

    /// Carries a statement out past the adapters, in all databases; returns how many rows it has changed in all.
    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        if self.urls().is_empty() {
            return execute_in(&self.path(), sql).await;
        }
        let mut changed = 0;
        for url in self.urls() {
            let sql = format!("SET search_path = users; {sql}");
            changed += execute_at(&url, &sql).await;
        }
        changed
    }
}

/// Carries statements out in a database on a server.
pub(crate) async fn execute_at(url: &str, sql: &str) -> u64 {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}

/// Carries statements out in a file.
pub(crate) async fn execute_in(file: &Path, sql: &str) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

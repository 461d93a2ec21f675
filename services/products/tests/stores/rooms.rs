//! Where stores are: in a file, or on a server.

use std::sync::Arc;
use std::time::Duration;

use meshwork_products::adapters::store::{PostgresStore, SqliteStore};
use meshwork_products::testing::Stores;
use meshwork_sql::{Observer, PostgresOptions};
use meshwork_testkit::Postgres;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

/// Where a store is.
pub(crate) enum Room {
    File(TempDir),
    Server { url: String, _server: Arc<Postgres> },
}

/// A PostgreSQL for a test.
pub(crate) async fn server() -> Arc<Postgres> {
    Arc::new(tokio::task::spawn_blocking(Postgres::start).await.unwrap())
}

/// How to reach a database; more connections than the tests' server has are never asked for, and who waits for one is
/// patient.
pub(crate) fn options(url: &str, observer: Option<Arc<dyn Observer>>) -> PostgresOptions {
    let acquire_timeout = Duration::from_secs(60);
    PostgresOptions { max_connections: 8, acquire_timeout, observer, ..PostgresOptions::new(url) }
}

impl Room {
    pub(crate) fn file() -> Self {
        Room::File(tempfile::tempdir().unwrap())
    }

    /// A new database.
    pub(crate) async fn database(server: &Arc<Postgres>) -> Self {
        let of = server.clone();
        let url = tokio::task::spawn_blocking(move || of.database()).await.unwrap();
        Room::Server { url, _server: server.clone() }
    }

    /// One of each.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::file(), Self::database(&server().await).await]
    }

    /// Opens the store, as an instance of the service does.
    pub(crate) async fn open(&self) -> Stores {
        match self {
            Room::File(folder) => {
                let store = SqliteStore::open(folder.path()).await.unwrap();
                Stores::of(&store, Arc::new(store.outbox()))
            }
            Room::Server { url, .. } => {
                let store = PostgresStore::open(&options(url, None)).await.unwrap();
                Stores::of(&store, Arc::new(store.outbox()))
            }
        }
    }

    /// The first column, a text, of what a statement returns, past the adapter.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Room::File(folder) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("products.db"));
                let mut connection = sqlx::ConnectOptions::connect(&options).await?;
                sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await
            }
            Room::Server { url, .. } => {
                let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await?;
                sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await
            }
        }
    }
}

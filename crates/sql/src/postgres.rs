//! PostgreSQL: a pool of connections to a server.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Transaction};

use crate::{AppliedMigration, Component, Error};

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// How old a connection becomes: balancers and servers forget older ones.
const LIFE: Duration = Duration::from_secs(30 * 60);

/// How to reach a PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`; `sslmode` and `sslrootcert` are parameters of it.
    pub url: String,
    /// How many connections there are at most. 16 by default.
    pub max_connections: u32,
    /// How many are kept open. 1 by default.
    pub min_connections: u32,
    /// How long to wait for a free connection, a new one's making included. 3 s by default.
    pub acquire_timeout: Duration,
    /// How long a statement may take. 10 s by default.
    pub statement_timeout: Duration,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 16,
            min_connections: 1,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(10),
        }
    }

    fn connect_options(&self) -> Result<PgConnectOptions, Error> {
        let options = PgConnectOptions::from_str(&self.url)?;
        let timeout = self.statement_timeout.as_millis().to_string();
        // A client that is gone must not hold locks for long.
        Ok(options
            .application_name("meshwork")
            .options([("statement_timeout", timeout.clone()), ("idle_in_transaction_session_timeout", timeout)]))
    }
}

impl fmt::Debug for PostgresOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// An open PostgreSQL database. Clones share its pool.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: PgPool,
}

impl Postgres {
    /// Connects, and migrates `components`.
    ///
    /// # Errors
    /// When the server can't be reached or a migration fails.
    pub async fn open(options: &PostgresOptions, components: &[Component]) -> Result<Self, Error> {
        Self::migrate(options, components).await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(options.min_connections.min(options.max_connections))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(IDLE)
            .max_lifetime(LIFE)
            .connect_lazy_with(options.connect_options()?);
        Ok(Self { pool })
    }

    /// Migrates the database without keeping it open.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub async fn migrate(options: &PostgresOptions, components: &[Component]) -> Result<Vec<AppliedMigration>, Error> {
        let connect_options = options.connect_options()?;
        let connect = PgConnection::connect_with(&connect_options);
        let mut connection = match tokio::time::timeout(options.acquire_timeout, connect).await {
            Ok(connection) => connection?,
            Err(_) => return Err(Error::Database(sqlx::Error::PoolTimedOut)),
        };
        let mut applied = Vec::new();
        for component in components {
            applied.extend(component.migrate_postgres(&mut connection).await?);
        }
        connection.close().await?;
        Ok(applied)
    }

    /// Connections for single statements.
    pub fn reader(&self) -> &PgPool {
        &self.pool
    }

    /// A transaction whose reads all see the database at one moment.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn snapshot(&self) -> Result<Transaction<'static, sqlx::Postgres>, Error> {
        Ok(self.pool.begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?)
    }

    /// Whether the server answers, for a check.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Runs `work` in a transaction and returns once it is committed.
    ///
    /// When `work` returns an error or panics, all that it wrote is undone.
    ///
    /// # Errors
    /// What `work` returns; else what the transaction met, as [`Error`].
    pub async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        // Dropped without a commit, it is rolled back.
        let mut transaction = self.pool.begin().await.map_err(Error::from)?;
        let worked = AssertUnwindSafe(work(&mut transaction)).catch_unwind().await;
        let result = worked.unwrap_or_else(|_| Err(E::from(Error::Panicked)))?;
        transaction.commit().await.map_err(|error| Error::OutcomeUnknown(error.to_string()))?;
        Ok(result)
    }
}

//! How a PostgreSQL is reached.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::error::Error;
use crate::lease;
use crate::migrate::Migrations;
use crate::observer::Observer;

/// How old a connection becomes: balancers and servers forget older ones.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// How often a server looks, during a statement, whether its client is still there: what was cancelled neither waits for a lock nor
/// holds one for much longer.
const LOOK_FOR_CLIENT: Duration = Duration::from_secs(1);

/// How to reach a PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`; `sslmode` (`prefer` by default; `verify-full` checks who answers) and
    /// `sslrootcert` are parameters of it.
    pub url: String,
    /// The other servers of the database: its streaming replicas, each a URL as `url` is. None by default. All are one group:
    /// when one of them is promoted, writes go to it (see [`Postgres::read`](crate::Postgres::read)).
    pub replicas: Vec<String>,
    /// How long a replica may be behind the primary and still be read from; 2 s by default. Of a primary that this process can't
    /// reach, what it told last counts: then this is no bound.
    pub max_lag: Duration,
    /// How many bytes of the write-ahead log a replica may be behind and still be read from; 16 MiB by default.
    pub max_lag_bytes: u64,
    /// Whether [`Postgres::position`](crate::Postgres::position) is told though there are no replicas: something else follows the
    /// log of the database, such as a cache. Not by default.
    pub positions: bool,
    /// The schema of the tables, made when missing, so that several services share a database and none of its tables. `None`
    /// by default: that of the account, mostly `public`.
    pub schema: Option<&'static str>,
    /// What opening the database does about migrations that it lacks. It applies them by default.
    pub migrations: Migrations,
    /// How many connections there are at most, to each server. 20 by default.
    pub max_connections: u32,
    /// How many are kept open. 1 by default; none with replicas, since the primary may change.
    pub min_connections: u32,
    /// How long to wait for a free connection, a new one's making included. 2 s by default; for one to a replica at most half a
    /// second, since there are others.
    pub acquire_timeout: Duration,
    /// How long a connection may be idle before it is closed. 30 s by default.
    pub idle_timeout: Duration,
    /// How long a statement may take, a wait for a lock included, and how long a transaction may be idle. 10 s by default. Of
    /// a migration it bounds the waits for locks alone.
    pub statement_timeout: Duration,
    /// Who is told of acquired connections, reads and ended transactions. Nobody by default.
    pub observer: Option<Arc<dyn Observer>>,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            replicas: Vec::new(),
            max_lag: Duration::from_secs(2),
            max_lag_bytes: 16 << 20,
            positions: false,
            schema: None,
            migrations: Migrations::default(),
            max_connections: 20,
            min_connections: 1,
            acquire_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(10),
            observer: None,
        }
    }

    /// The server and the database, `HOST:PORT/DATABASE`, without what is secret; `None` when the URL is none.
    pub fn place(&self) -> Option<String> {
        let options = PgConnectOptions::from_str(&self.url).ok()?;
        Some(format!("{}/{}", server_name(&options), options.get_database().unwrap_or_default()))
    }

    /// How each server is connected to: that of `url` first.
    pub(crate) fn connect_options(&self) -> Result<Vec<PgConnectOptions>, Error> {
        std::iter::once(&self.url).chain(&self.replicas).map(|url| self.connect_options_of(url)).collect()
    }

    /// How the server of `url` is connected to.
    pub(crate) fn own_connect_options(&self) -> Result<PgConnectOptions, Error> {
        self.connect_options_of(&self.url)
    }

    fn connect_options_of(&self, url: &str) -> Result<PgConnectOptions, Error> {
        let options = PgConnectOptions::from_str(url)?;
        let options = match self.schema {
            Some(schema) => options.options([("search_path", schema)]),
            None => options,
        };
        let timeout = self.statement_timeout.as_millis().to_string();
        // A client that is gone must not hold locks for long.
        Ok(options.application_name("meshwork").options([
            ("statement_timeout", timeout.clone()),
            ("idle_in_transaction_session_timeout", timeout),
            ("client_connection_check_interval", LOOK_FOR_CLIENT.as_millis().to_string()),
        ]))
    }

    /// A pool to one server, as far as it is the same for all.
    pub(crate) fn pool_options(&self) -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .min_connections(self.min_connections.min(self.max_connections))
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(LIFE)
            .after_release(|connection, _| Box::pin(lease::may_return(connection)))
    }
}

impl fmt::Debug for PostgresOptions {
    /// Without the URLs, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("max_connections", &self.max_connections)
            .field("replicas", &self.replicas.len())
            .finish_non_exhaustive()
    }
}

/// `HOST:PORT` of a server.
pub(crate) fn server_name(options: &PgConnectOptions) -> String {
    format!("{}:{}", options.get_host(), options.get_port())
}

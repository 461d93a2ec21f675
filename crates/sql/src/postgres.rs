//! PostgreSQL: a pool of connections to a server.

use std::borrow::Cow;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Transaction};
use tokio::time::Instant;

use crate::commit::Callbacks;
use crate::observer::{Observer, PoolStats, TransactionEnd};
use crate::shards::place::{Place, in_order};
use crate::{AppliedMigration, Component, Error, Kind, WorkError};

/// How old a connection becomes: balancers and servers forget older ones.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// How often the work of a transaction is done at most while others are in its way.
const ATTEMPTS: u32 = 8;
/// The pause before work is done again, shortened at random by up to a half; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(2);
/// How many times the time of a statement a transaction may take before its server counts as hanging.
const STATEMENTS: u32 = 3;
/// The longest pause between two tries to reach a server that was out of reach at the start.
const REACH_AGAIN: Duration = Duration::from_secs(15);

/// How to reach a PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`; `sslmode` (`prefer` by default; `verify-full` checks who answers) and
    /// `sslrootcert` are parameters of it.
    pub url: String,
    /// The schema of the tables, made when missing, so that several services share a database and none of its tables. `None`
    /// by default: that of the account, mostly `public`.
    pub schema: Option<&'static str>,
    /// How many connections there are at most. 20 by default.
    pub max_connections: u32,
    /// How many are kept open. 1 by default.
    pub min_connections: u32,
    /// How long to wait for a free connection, a new one's making included. 2 s by default.
    pub acquire_timeout: Duration,
    /// How long a connection may be idle before it is closed. 30 s by default.
    pub idle_timeout: Duration,
    /// How long a statement may take, a wait for a lock included, and how long a transaction may be idle. 10 s by default. Of
    /// a migration it bounds the waits for locks alone.
    pub statement_timeout: Duration,
    /// Who is told of acquired connections and ended transactions. Nobody by default.
    pub observer: Option<Arc<dyn Observer>>,
}

impl PostgresOptions {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: None,
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
        let database = options.get_database().unwrap_or_default();
        Some(format!("{}:{}/{database}", options.get_host(), options.get_port()))
    }

    fn connect_options(&self) -> Result<PgConnectOptions, Error> {
        let options = PgConnectOptions::from_str(&self.url)?;
        let options = match self.schema {
            Some(schema) => options.options([("search_path", schema)]),
            None => options,
        };
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
    max: u32,
    /// How long one try of a transaction may take.
    bound: Duration,
    observer: Option<Arc<dyn Observer>>,
}

impl Postgres {
    /// Connects, and migrates `components`.
    ///
    /// # Errors
    /// When the server can't be reached or a migration fails.
    pub async fn open(options: &PostgresOptions, components: &[Component]) -> Result<Self, Error> {
        Self::migrate(options, components).await?;
        Self::pooled(options)
    }

    /// As [`Postgres::open`], for a store that isn't needed for everything: a server that is out of reach doesn't stop the
    /// start, nor does one on which others hold a lock that a migration needs. Its tables are looked at again within 15 s; until
    /// then everything that needs them fails.
    ///
    /// # Errors
    /// When the options are wrong or, with the server in reach, a migration fails.
    pub async fn open_when_reached(options: &PostgresOptions, components: &'static [Component]) -> Result<Self, Error> {
        let opened = Self::pooled(options)?;
        match Self::migrate(options, components).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Conflict) => {
                tracing::warn!(%error, "the tables of a database can't be looked at yet; it is tried again");
                // It ends when the tables are there, or with the process.
                tokio::spawn(migrate_later(options.clone(), components, opened.pool.clone()));
            }
            Err(error) => return Err(error),
        }
        Ok(opened)
    }

    fn pooled(options: &PostgresOptions) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .min_connections(options.min_connections.min(options.max_connections))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(options.idle_timeout)
            .max_lifetime(LIFE)
            .connect_lazy_with(options.connect_options()?);
        let bound = options.acquire_timeout + options.statement_timeout * STATEMENTS;
        Ok(Self { pool, max: options.max_connections, bound, observer: options.observer.clone() })
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
        if let Some(schema) = options.schema {
            make_schema(&mut connection, schema).await?;
        }
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

    /// How much background work may be under way at once: each takes a connection, and callers must get theirs.
    pub fn concurrency(&self) -> usize {
        usize::try_from(self.max * 3 / 5).unwrap_or(usize::MAX).max(1)
    }

    /// The pool at this moment.
    pub fn stats(&self) -> PoolStats {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        PoolStats { connections: self.pool.size(), idle, max: self.max }
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

    /// Runs `work` on `input` in a transaction and returns once it is committed.
    ///
    /// When `work` returns an error or panics, all that it wrote is undone. When another transaction was in its way
    /// ([`WorkError::is_conflict`]) it is done again, a few times, after a short pause: it must not change anything outside
    /// of the transaction. What it needs comes as `input`, so that it can be done again.
    ///
    /// # Errors
    /// What `work` returns; else what the transaction met, as [`Error`].
    pub async fn write<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        self.transaction(&Cow::Borrowed("BEGIN READ WRITE"), input, work).await
    }

    /// As [`Postgres::write`], for keys that are spread over several databases: it begins by entering `places`, in the same round
    /// to the server, and nobody takes them away before its end. Without places it is [`Postgres::write`].
    ///
    /// # Errors
    /// As [`Postgres::write`]; at once [`Error::StaleMap`] when this database doesn't own them all at these versions, and
    /// [`Error::Moving`] while they are fenced (SH-).
    pub async fn write_at<I, T, E, W>(&self, places: &[Place], input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        self.transaction(&begin_at(places), input, work).await
    }

    /// A transaction that begins by `begin`, done again while others are in its way.
    async fn transaction<I, T, E, W>(&self, begin: &Cow<'static, str>, input: I, work: W) -> Result<T, E>
    where
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
    {
        let began = Instant::now();
        let (mut attempts, mut pause) = (0, PAUSE);
        loop {
            attempts += 1;
            let (end, result) = self.attempt(begin, &input, &work).await;
            if end != TransactionEnd::Conflict || attempts >= ATTEMPTS {
                if let Some(observer) = &self.observer {
                    observer.transaction(began.elapsed(), attempts, end);
                }
                return result;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause *= 2;
        }
    }

    /// One try, on a connection of its own, within its bound.
    async fn attempt<I, T, E, W>(
        &self,
        begin: &Cow<'static, str>,
        input: &I,
        work: &W,
    ) -> (TransactionEnd, Result<T, E>)
    where
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
    {
        let asked = Instant::now();
        let acquired = self.pool.acquire().await;
        if let Some(observer) = &self.observer {
            observer.connection(asked.elapsed(), acquired.is_ok());
        }
        let mut connection = match acquired {
            Ok(connection) => connection,
            Err(error) => return (TransactionEnd::NotBegun, Err(E::from(error.into()))),
        };
        let committing = AtomicBool::new(false);
        let transaction = transact(&mut connection, begin, input, work, &committing);
        let Ok(done) = tokio::time::timeout(self.bound, transaction).await else {
            // The server bounds each statement, unless it hangs or is gone without a word. The connection is not used again.
            connection.close_on_drop();
            let sentence = format!("the server has not answered within {:?}", self.bound);
            return if committing.into_inner() {
                (TransactionEnd::OutcomeUnknown, Err(E::from(Error::OutcomeUnknown(sentence))))
            } else {
                tracing::warn!("a transaction was given up: {sentence}");
                (TransactionEnd::Undone, Err(E::from(Error::NotWritten)))
            };
        };
        if done.0 == TransactionEnd::NotBegun {
            // It may be to a server that isn't the primary any more: the next one is made anew.
            connection.close_on_drop();
        }
        if done.0 == TransactionEnd::Misplaced {
            // Callers come often while keys move: the connection is kept, if its failed transaction can be ended.
            let undo = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
            if !matches!(tokio::time::timeout(self.bound, undo).await, Ok(Ok(_))) {
                connection.close_on_drop();
            }
        }
        done
    }
}

/// The beginning of a transaction that enters `places`. The look at a piece must come after its lock, which it wouldn't in a
/// transaction of one snapshot.
fn begin_at(places: &[Place]) -> Cow<'static, str> {
    if places.is_empty() {
        return Cow::Borrowed("BEGIN READ WRITE");
    }
    let enter = |place: Place| format!("; SELECT shard_enter({}, {}, {})", place.space, place.piece, place.version);
    let enters: String = in_order(places).into_iter().map(enter).collect();
    Cow::Owned(format!("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE{enters}"))
}

/// A transaction from its beginning to its end; `committing` is set before its commit.
async fn transact<I, T, E, W>(
    connection: &mut PgConnection,
    begin: &Cow<'static, str>,
    input: &I,
    work: &W,
    committing: &AtomicBool,
) -> (TransactionEnd, Result<T, E>)
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    // Dropped without a commit, it is rolled back. A server that has become a replica refuses it here, before any work.
    let mut transaction = match connection.begin_with(AssertSqlSafe(begin.clone())).await {
        Ok(transaction) => transaction,
        Err(error) => {
            if let Some(misplaced) = Error::of_entering(&error) {
                return (TransactionEnd::Misplaced, Err(E::from(misplaced)));
            }
            tracing::warn!(%error, "a transaction could not begin");
            return (TransactionEnd::NotBegun, Err(E::from(Error::NotWritten)));
        }
    };
    let callbacks = Callbacks::default();
    let worked = callbacks.scope(work(&mut transaction, input));
    let worked = AssertUnwindSafe(worked).catch_unwind().await;
    let result = match worked.unwrap_or_else(|_| Err(E::from(Error::Panicked))) {
        Ok(result) => result,
        Err(error) => {
            let end = if error.is_conflict() { TransactionEnd::Conflict } else { TransactionEnd::Undone };
            // At once: what it has locked keeps others waiting. A connection that is gone has nothing locked.
            transaction.rollback().await.ok();
            return (end, Err(error));
        }
    };
    // A COMMIT after a statement that has failed is answered as if nothing were wrong, and undoes everything. Work that
    // has passed over such a failure must not take that for success.
    if let Err(error) = sqlx::raw_sql("SELECT 1").execute(&mut *transaction).await {
        transaction.rollback().await.ok();
        return (TransactionEnd::Undone, Err(E::from(error.into())));
    }
    committing.store(true, Ordering::Relaxed);
    fail::fail_point!("postgres::before_commit");
    match transaction.commit().await.map_err(Error::from) {
        Ok(()) => {
            fail::fail_point!("postgres::committed");
            callbacks.call();
            (TransactionEnd::Committed, Ok(result))
        }
        Err(error) if is_refused_commit(&error) => {
            let error = E::from(error);
            let end = if error.is_conflict() { TransactionEnd::Conflict } else { TransactionEnd::Undone };
            (end, Err(error))
        }
        Err(error) => (TransactionEnd::OutcomeUnknown, Err(E::from(Error::OutcomeUnknown(error.to_string())))),
    }
}

/// Whether the server has refused the commit, so that it has undone everything: for a rule that is checked at the end, or
/// another transaction. One that is being shut down says that it doesn't wait for its replicas any more, and one that has
/// failed inside may have written before.
fn is_refused_commit(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(cause)) = error else { return false };
    let inside = cause.code().is_some_and(|code| code.starts_with("XX"));
    !inside && matches!(error.kind(), Kind::Conflict | Kind::Damaged)
}

/// Makes a schema unless it is there: an account that may use it needn't be one that may make it.
async fn make_schema(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    let found = sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(schema);
    if found.fetch_optional(&mut *connection).await?.is_none() {
        let make = AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        match sqlx::query(make).execute(connection).await.map_err(Error::from) {
            // Two that come at once may both find none.
            Err(error) if error.is_unique_violation() => {}
            made => _ = made?,
        }
    }
    Ok(())
}

/// Migrates once the server can be reached, unless the pool was closed before.
async fn migrate_later(options: PostgresOptions, components: &'static [Component], pool: PgPool) {
    let mut pause = PAUSE;
    while !pool.is_closed() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REACH_AGAIN);
        match Postgres::migrate(&options, components).await {
            Ok(_) => {
                tracing::info!("the database and its tables are there");
                return;
            }
            Err(error) if error.kind() == Kind::Unavailable => {}
            Err(error) => tracing::error!(%error, "a database can be reached, but its tables can't be made"),
        }
    }
}

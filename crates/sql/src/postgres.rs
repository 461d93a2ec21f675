//! PostgreSQL: a pool of connections to a server.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr as _, SqlStr, Transaction};
use tokio::time::{Instant, timeout};

use crate::bounded::{READ, timed_out};
use crate::commit::Callbacks;
use crate::lease::{self, GO_BACK};
use crate::observer::{Observer, PoolStats, TransactionEnd};
use crate::postgres_options::{PostgresOptions, server_name};
use crate::replicas::answer::Answer;
use crate::replicas::discover::{self, Found};
use crate::replicas::group::Group;
use crate::replicas::written::Positions;
use crate::replicas::{Freshness, ReplicaStats, WalPosition, probe, read};
use crate::shards::place::{Place, in_order};
use crate::{AppliedMigration, Component, Error, Kind, Migrations, WorkError};

/// How a transaction that writes begins. A server that has become a replica refuses it, before any work.
const BEGIN: &str = "BEGIN READ WRITE";
/// How often the work of a transaction is done at most while others are in its way.
const ATTEMPTS: u32 = 8;
/// The pause before work is done again, shortened at random by up to a half; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(2);
/// How many times the time of a statement a transaction may take before its server counts as hanging.
const STATEMENTS: u32 = 3;
/// The longest pause between two tries to reach a server that was out of reach at the start.
const REACH_AGAIN: Duration = Duration::from_secs(15);

/// An open PostgreSQL database. Clones share its pool.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Connections to the primary.
    pool: PgPool,
    /// `HOST:PORT` of the URL.
    server: Arc<str>,
    /// The servers, when there are replicas.
    group: Option<Arc<Group>>,
    /// What tells positions where there are no replicas, if somebody needs them.
    positions: Option<Arc<Positions>>,
    max: u32,
    /// How long one try of a transaction may take.
    bound: Duration,
    observer: Option<Arc<dyn Observer>>,
}

impl Postgres {
    /// Connects, and migrates `components`. With replicas, the primary is looked for among all servers.
    ///
    /// With [`Migrations::Wait`] nothing is made or changed in the database.
    ///
    /// # Errors
    /// When the server can't be reached, none of several is the primary, or a migration fails; [`Error::Pending`] when one is
    /// missing that somebody else is to apply.
    pub async fn open(options: &PostgresOptions, components: &[Component]) -> Result<Self, Error> {
        let (_, primary) = settle_primary(options, components, options.migrations).await?;
        let opened = Self::pooled(options)?;
        if let (Some(group), Some((server, answer))) = (&opened.group, primary) {
            group.found(server, answer);
        }
        Ok(opened)
    }

    /// As [`Postgres::open`], for a store that isn't needed for everything: a server that is out of reach doesn't stop the
    /// start, nor does one on which others hold a lock that a migration needs. Its tables are looked at again within 15 s; until
    /// then everything that needs them fails. With [`Migrations::Wait`] it is no other than [`Postgres::open`].
    ///
    /// # Errors
    /// When the options are wrong or, with the server in reach, a migration fails.
    pub async fn open_when_reached(options: &PostgresOptions, components: &'static [Component]) -> Result<Self, Error> {
        if options.migrations == Migrations::Wait {
            return Self::open(options, components).await;
        }
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

    /// The pool, without a look at the server.
    pub(crate) fn pooled(options: &PostgresOptions) -> Result<Self, Error> {
        let servers = options.connect_options()?;
        let first = options.own_connect_options()?;
        let server = server_name(&first).into();
        let (pool, group) = if options.replicas.is_empty() {
            (options.pool_options().connect_lazy_with(first), None)
        } else {
            let group = Arc::new(Group::new(options, servers, first));
            probe::watch(&group);
            (group.primary().clone(), Some(group))
        };
        let positions = (group.is_none() && options.positions).then(Arc::default);
        let bound = options.acquire_timeout + options.statement_timeout * STATEMENTS;
        let (max, observer) = (options.max_connections, options.observer.clone());
        Ok(Self { pool, server, group, positions, max, bound, observer })
    }

    /// Migrates the database without keeping it open, whatever [`PostgresOptions::migrations`] says.
    ///
    /// # Errors
    /// As [`Postgres::open`].
    pub async fn migrate(options: &PostgresOptions, components: &[Component]) -> Result<Vec<AppliedMigration>, Error> {
        Ok(settle_primary(options, components, Migrations::Apply).await?.0)
    }

    /// Connections to the primary, for single statements. One that was let go in a transaction, or that doesn't answer within a
    /// second then, is closed.
    pub fn reader(&self) -> &PgPool {
        &self.pool
    }

    /// How much background work may be under way at once: each takes a connection, and callers must get theirs.
    pub fn concurrency(&self) -> usize {
        usize::try_from(self.max * 3 / 5).unwrap_or(usize::MAX).max(1)
    }

    /// The pool of the primary at this moment.
    pub fn stats(&self) -> PoolStats {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        PoolStats { connections: self.pool.size(), idle, max: self.max }
    }

    /// A transaction on the primary whose reads all see the database at one moment.
    ///
    /// # Errors
    /// When there is no connection, or the server doesn't answer.
    pub async fn snapshot(&self) -> Result<Transaction<'static, sqlx::Postgres>, Error> {
        let pool = self.pool.clone();
        // By a task of its own: a caller who is cancelled in the middle of a BEGIN would leave its transaction open.
        let begin = tokio::spawn(async move {
            pool.begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await
        });
        match timeout(READ, begin).await {
            Ok(Ok(begun)) => begun.map_err(|error| lease::explained(&self.pool, error)),
            Ok(Err(_)) => Err(Error::NotWritten),
            Err(_) => Err(timed_out()),
        }
    }

    /// Runs what only reads, on a replica that is fresh enough or on the primary, within 30 s.
    ///
    /// With [`Freshness::Bounded`] the replicas take turns that are up and within the bounds of lag; with [`Freshness::AtLeast`] those
    /// of them that have replayed so far, by their last word or when they are asked. What fails on a replica because it is gone,
    /// hangs or cancels it for its replay is done again: once on another one, then on the primary. So `work` changes nothing
    /// outside, and it only reads: a replica refuses what writes. Statements see one moment only in a transaction that `work`
    /// begins itself (`BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`).
    ///
    /// While this process can't reach the primary, its last position counts for the lag of the replicas, which then is no bound.
    ///
    /// # Errors
    /// What `work` returns ([`WorkError::kind`] says whether it is done again); else what the servers met.
    pub async fn read<I, T, E, W>(&self, freshness: Freshness, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let observer = self.observer.as_deref();
        if let Some(group) = &self.group {
            return read::read(group, observer, freshness, &input, &work).await;
        }
        if let Some(observer) = observer {
            observer.read(&self.server, false, false);
        }
        read::on_primary(&self.pool, None, Instant::now() + READ, false, &input, &work).await
    }

    /// The position that covers every write that was committed before this call, for [`Freshness::AtLeast`]; `None` without
    /// replicas, since nobody needs it then, unless [`PostgresOptions::positions`] says otherwise. It is taken after the commit was
    /// answered: one that was taken before would not cover it.
    ///
    /// A primary that doesn't tell it within a second gives [`WalPosition::UNKNOWN`], with which reads go to the primary.
    pub async fn position(&self) -> Option<WalPosition> {
        match (&self.group, &self.positions) {
            (Some(group), _) => Some(group.position().await),
            (None, Some(positions)) => Some(positions.ask(&self.pool).await),
            (None, None) => None,
        }
    }

    /// As [`Postgres::position`], for what nothing but replicas could show too late: `None` without them, whatever the options say.
    pub async fn replica_position(&self) -> Option<WalPosition> {
        Some(self.group.as_ref()?.position().await)
    }

    /// The servers but the one that is written to, for checks and metrics.
    pub fn replicas(&self) -> Vec<ReplicaStats> {
        self.group.as_ref().map(|group| group.stats()).unwrap_or_default()
    }

    /// Whether the primary answers, for a check.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn ping(&self) -> Result<(), Error> {
        let asked = sqlx::query("SELECT 1").execute(&self.pool).await;
        asked.map(drop).map_err(|error| lease::explained(&self.pool, error))
    }

    /// Runs `work` on `input` in a transaction and returns once it is committed.
    ///
    /// When `work` returns an error or panics, all that it wrote is undone. When another transaction was in its way
    /// ([`WorkError::is_conflict`]) it is done again, a few times, after a short pause: it must not change anything outside
    /// of the transaction. What it needs comes as `input`, so that it can be done again. When a replica is promoted, what is under
    /// way at the old primary ends.
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
        self.transaction(BEGIN.into_sql_str(), input, work).await
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
        self.transaction(begin_at(places), input, work).await
    }

    /// A transaction that begins by `begin`, done again while others are in its way.
    async fn transaction<I, T, E, W>(&self, begin: SqlStr, input: I, work: W) -> Result<T, E>
    where
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
    {
        let began = Instant::now();
        let (mut attempts, mut pause) = (0, PAUSE);
        loop {
            attempts += 1;
            let (end, result) = self.attempt(begin.clone(), &input, &work).await;
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
    async fn attempt<I, T, E, W>(&self, begin: SqlStr, input: &I, work: &W) -> (TransactionEnd, Result<T, E>)
    where
        E: WorkError,
        W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
    {
        let asked = Instant::now();
        let acquired = lease::acquire(&self.pool).await;
        if let Some(observer) = &self.observer {
            observer.connection(asked.elapsed(), acquired.is_ok());
        }
        let mut connection = match acquired {
            Ok(connection) => connection,
            Err(error) => return (TransactionEnd::NotBegun, Err(E::from(error))),
        };
        let switched = read::switched(self.group.as_deref());
        let committing = AtomicBool::new(false);
        // A caller that is cancelled in here lets the connection go as it is: its pool looks at it.
        let transaction = transact(&mut connection, begin, input, work, &committing);
        let ended = tokio::select! {
            biased;
            done = timeout(self.bound, transaction) => {
                done.map_err(|_| format!("the server has not answered within {:?}", self.bound))
            }
            () = switched => Err("the server is not the primary any more".to_owned()),
        };
        let done = match ended {
            Ok(done) => done,
            Err(sentence) => {
                // The server bounds each statement, unless it hangs or is gone without a word. The connection is not used again.
                connection.close_on_drop();
                return if committing.into_inner() {
                    (TransactionEnd::OutcomeUnknown, Err(E::from(Error::OutcomeUnknown(sentence))))
                } else {
                    tracing::warn!("a transaction was given up: {sentence}");
                    (TransactionEnd::Undone, Err(E::from(Error::NotWritten)))
                };
            }
        };
        match done.0 {
            // It may be to a server that isn't the primary any more: the next one is made anew.
            TransactionEnd::NotBegun => connection.close_on_drop(),
            TransactionEnd::Misplaced => {
                // Callers come often while keys move: the connection is kept, if its failed transaction can be ended.
                let undo = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
                let undone = timeout(GO_BACK, undo).await;
                if matches!(undone, Ok(Ok(_))) {
                    connection.ended();
                } else {
                    connection.close_on_drop();
                }
            }
            TransactionEnd::Committed | TransactionEnd::Undone | TransactionEnd::Conflict => connection.ended(),
            TransactionEnd::OutcomeUnknown => {}
        }
        done
    }
}

/// The beginning of a transaction that enters `places`. The look at a piece must come after its lock, which it wouldn't in a
/// transaction of one snapshot.
fn begin_at(places: &[Place]) -> SqlStr {
    if places.is_empty() {
        return BEGIN.into_sql_str();
    }
    let enter = |place: Place| format!("; SELECT shard_enter({}, {}, {})", place.space, place.piece, place.version);
    let enters: String = in_order(places).into_iter().map(enter).collect();
    AssertSqlSafe(format!("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE{enters}")).into_sql_str()
}

/// A transaction from its beginning to its end; `committing` is set before its commit.
async fn transact<I, T, E, W>(
    connection: &mut PgConnection,
    begin: SqlStr,
    input: &I,
    work: &W,
    committing: &AtomicBool,
) -> (TransactionEnd, Result<T, E>)
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    // Dropped without a commit, it is rolled back.
    let mut transaction = match connection.begin_with(begin).await {
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

/// Migrates the primary, or sees whether it needn't be; which of several servers that is.
async fn settle_primary(
    options: &PostgresOptions,
    components: &[Component],
    migrations: Migrations,
) -> Result<(Vec<AppliedMigration>, Option<(usize, Answer)>), Error> {
    let (mut connection, primary) = if options.replicas.is_empty() {
        let connect_options = options.own_connect_options()?;
        let connect = PgConnection::connect_with(&connect_options);
        match timeout(options.acquire_timeout, connect).await {
            Ok(connection) => (connection?, None),
            Err(_) => return Err(Error::Database(sqlx::Error::PoolTimedOut)),
        }
    } else {
        let servers = options.connect_options()?;
        let Found { server, answer, connection } = discover::find(servers, options.acquire_timeout).await?;
        (connection, Some((server, answer)))
    };
    let mut applied = Vec::new();
    match migrations {
        Migrations::Apply => {
            if let Some(schema) = options.schema {
                make_schema(&mut connection, schema).await?;
            }
            for component in components {
                applied.extend(component.migrate_postgres(&mut connection).await?);
            }
        }
        Migrations::Wait => {
            for component in components {
                component.require_postgres(&mut connection).await?;
            }
        }
    }
    connection.close().await?;
    Ok((applied, primary))
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

//! The embedded store: SQLite in WAL mode with `synchronous=FULL`.
//!
//! SQLite has one writer at a time and a commit waits for the disk. So one task owns the writing connection and takes
//! the work of all callers from a queue: what waits there together shares a transaction and its one flush. Each
//! caller's work has a savepoint of its own, so that its failure undoes nothing of the others, and every caller is
//! answered only after the commit.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::bounded::{READ, timed_out};
use crate::carried::{capture, restored};
use crate::commit::Callbacks;
use crate::replicas::{Freshness, WalPosition};
use crate::shards::place::Place;
use crate::{AppliedMigration, Component, Error, WorkError};

/// How many callers may wait for the writer; more wait to be queued.
const QUEUE: usize = 1024;
/// How many callers share a transaction at most. It bounds how long the first of them waits.
const BATCH: usize = 128;
/// How many reads run at once.
const READERS: u32 = 4;
/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// Answers a caller once the outcome of the commit is known.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// A caller's work; it returns whether what it wrote is to be kept.
type Work = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, (bool, Answer)> + Send>;

/// What is called after each commit.
type Hooks = Arc<RwLock<Vec<Box<dyn Fn() + Send + Sync>>>>;

/// An open SQLite database. Clones share it.
#[derive(Clone)]
pub struct Sqlite {
    readers: SqlitePool,
    writer: mpsc::Sender<Work>,
    hooks: Hooks,
}

impl Sqlite {
    /// Opens the database file, making it and its folder when missing, and migrates `components`.
    ///
    /// # Errors
    /// When the file can't be opened or a migration fails.
    pub async fn open(path: &Path, components: &[Component]) -> Result<Self, Error> {
        let open_error = |source| Error::Open { path: path.display().to_string(), source };
        let (connection, _) = open_migrated(path, components).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY)
            // A file doesn't go away as a server does; asking it before each read would double the cost of reads.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options(path).read_only(true))
            .await
            .map_err(open_error)?;
        let (writer, queue) = mpsc::channel(QUEUE);
        let hooks = Hooks::default();
        tokio::spawn(run_writer(connection, queue, hooks.clone()));
        Ok(Self { readers, writer, hooks })
    }

    /// Migrates the database file without keeping it open.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub async fn migrate(path: &Path, components: &[Component]) -> Result<Vec<AppliedMigration>, Error> {
        let (connection, applied) = open_migrated(path, components).await?;
        connection.close().await?;
        Ok(applied)
    }

    /// Connections for reading. Each statement sees what was committed when it began.
    pub fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// Runs what only reads, within 30 s: as [`Postgres::read`](crate::Postgres::read), for one text of both. The file is as fresh
    /// as can be, whatever is asked.
    ///
    /// # Errors
    /// What `work` returns, or that no connection was free.
    pub async fn read<I, T, E, W>(&self, freshness: Freshness, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: WorkError,
        W: for<'c> Fn(&'c mut SqliteConnection, &'c I) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        _ = freshness;
        let deadline = Instant::now() + READ;
        let mut connection = match tokio::time::timeout_at(deadline, self.readers.acquire()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(E::from(Error::from(error))),
            Err(_) => return Err(E::from(timed_out())),
        };
        let worked = tokio::time::timeout_at(deadline, work(&mut connection, &input)).await;
        worked.unwrap_or_else(|_| Err(E::from(timed_out())))
    }

    /// `None`: there are no replicas that could be behind.
    pub async fn position(&self) -> Option<WalPosition> {
        None
    }

    /// `None`, as [`Sqlite::position`].
    pub async fn replica_position(&self) -> Option<WalPosition> {
        None
    }

    /// How much background work may be under way at once: what waits for the writer shares a flush, and half of one is left to
    /// callers.
    pub fn concurrency(&self) -> usize {
        BATCH / 2
    }

    /// A transaction whose reads all see the database at one moment.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn snapshot(&self) -> Result<Transaction<'static, sqlx::Sqlite>, Error> {
        Ok(self.readers.begin().await?)
    }

    /// Whether the file can be read, and the writer gets to write: for a check.
    ///
    /// # Errors
    /// What the read or the empty transaction met.
    pub async fn ping(&self) -> Result<(), Error> {
        // A bare SELECT 1 would not touch the file.
        sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").fetch_optional(&self.readers).await?;
        self.write_once(|_| Box::pin(async { Ok(()) })).await
    }

    /// Has `hook` called after each commit, by the writer: quickly, and whether or not the callers of the committed work
    /// still wait.
    pub fn after_commit(&self, hook: impl Fn() + Send + Sync + 'static) {
        if let Ok(mut hooks) = self.hooks.write() {
            hooks.push(Box::new(hook));
        }
    }

    /// Runs `work` on `input` in a transaction and returns once it is on the disk.
    ///
    /// As [`Postgres::write`](crate::Postgres::write), for one text of both; the one writer never has to do work again.
    ///
    /// # Errors
    /// As [`Sqlite::write_once`].
    pub async fn write<I, T, E, W>(&self, input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: WorkError,
        W: for<'c> Fn(&'c mut SqliteConnection, &'c I) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        self.write_once(move |connection| Box::pin(async move { work(connection, &input).await })).await
    }

    /// As [`Sqlite::write`]: this database holds everything, so that `places` are always owned.
    ///
    /// # Errors
    /// As [`Sqlite::write_once`].
    pub async fn write_at<I, T, E, W>(&self, places: &[Place], input: I, work: W) -> Result<T, E>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        E: WorkError,
        W: for<'c> Fn(&'c mut SqliteConnection, &'c I) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        _ = places;
        self.write(input, work).await
    }

    /// Runs `work` in a transaction and returns once it is on the disk.
    ///
    /// When `work` returns an error or panics, all that it wrote is undone. Work that has been queued is carried out
    /// even if its caller has gone. It finds what the caller's task carries ([`carried`](crate::carried)).
    ///
    /// # Errors
    /// What `work` returns; else what the commit met, as [`Error`].
    pub async fn write_once<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let carried = capture();
        let job: Work = Box::new(move |connection| {
            Box::pin(async move {
                let callbacks = Callbacks::default();
                let worked = callbacks.scope(restored(carried, async move { work(connection).await }));
                let result = AssertUnwindSafe(worked).catch_unwind().await;
                let result = result.unwrap_or_else(|_| Err(E::from(Error::Panicked)));
                let keep = result.is_ok();
                let done = move |outcome: Result<(), Error>| {
                    let result = match outcome {
                        Ok(()) => {
                            if keep {
                                callbacks.call();
                            }
                            result
                        }
                        Err(error) => result.and(Err(E::from(error))),
                    };
                    // The caller may have gone; its work stands all the same.
                    answer.send(result).ok();
                };
                (keep, Box::new(done) as Answer)
            })
        });
        self.writer.send(job).await.map_err(|_| E::from(Error::NotWritten))?;
        answered.await.unwrap_or_else(|_| Err(E::from(Error::NotWritten)))
    }
}

/// Opens the file for writing and brings its tables up to date.
async fn open_migrated(
    path: &Path,
    components: &[Component],
) -> Result<(SqliteConnection, Vec<AppliedMigration>), Error> {
    let open_error = |source| Error::Open { path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| open_error(sqlx::Error::Io(error)))?;
    }
    let mut connection = connect(&options(path)).await.map_err(open_error)?;
    let mut applied = Vec::new();
    for component in components {
        applied.extend(component.migrate(&mut connection).await?);
    }
    Ok((connection, applied))
}

/// Connects, again and again for [`BUSY`] while the file is locked: SQLite doesn't wait by itself where several
/// processes put a new file into WAL mode at once.
async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(BUSY / 1_000).await,
            result => return result,
        }
    }
}

/// Whether another process is at work on the file (SQLITE_BUSY, with any extension).
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // With WAL, NORMAL would lose the last commits when the power fails.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .pragma("temp_store", "memory")
}

/// Takes work from the queue until every [`Sqlite`] is gone.
async fn run_writer(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Work>, hooks: Hooks) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let mut answers = Vec::with_capacity(batch.len());
        let mut outcome = run_batch(&mut connection, &mut batch, &mut queue, &mut answers).await;
        if outcome.is_ok() {
            fail::fail_point!("sqlite::before_commit");
            let commit = sqlx::query("COMMIT").execute(&mut connection).await;
            outcome = commit.map(drop).map_err(|error| Error::OutcomeUnknown(error.to_string()));
            fail::fail_point!("sqlite::committed");
        }
        if let Err(error) = &outcome {
            tracing::error!(%error, "a transaction was rolled back");
            sqlx::query("ROLLBACK").execute(&mut connection).await.ok();
        }
        for answer in answers {
            answer(match &outcome {
                Ok(()) => Ok(()),
                Err(Error::OutcomeUnknown(cause)) => Err(Error::OutcomeUnknown(cause.clone())),
                Err(_) => Err(Error::NotWritten),
            });
        }
        // Work that the transaction never reached is dropped, and its callers learn it by their closed channel.
        batch.clear();
        if let Ok(hooks) = hooks.read() {
            hooks.iter().for_each(|hook| hook());
        }
    }
    connection.close().await.ok();
}

/// Begins a transaction and does what waits; the commit is left to the caller.
async fn run_batch(
    connection: &mut SqliteConnection,
    batch: &mut Vec<Work>,
    queue: &mut mpsc::Receiver<Work>,
    answers: &mut Vec<Answer>,
) -> Result<(), Error> {
    // IMMEDIATE takes the write lock at once, so that another process can't turn our first write into a deadlock.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    // A savepoint is released with the next one's begin, or by the commit: each statement is a round to the connection's thread.
    let (mut taken, mut alone, mut open) = (0, true, false);
    while taken < BATCH {
        if batch.is_empty() {
            match queue.try_recv() {
                Ok(work) => batch.push(work),
                Err(_) => break,
            }
        }
        for work in batch.drain(..) {
            taken += 1;
            if !alone {
                let begin = if open { "RELEASE work; SAVEPOINT work" } else { "SAVEPOINT work" };
                sqlx::raw_sql(begin).execute(&mut *connection).await?;
            }
            let (keep, answer) = work(connection).await;
            answers.push(answer);
            open = !alone && keep;
            // What fails before anything was kept undoes the transaction itself; a savepoint would only cost time.
            let undo = match (alone, keep) {
                (_, true) => None,
                (true, false) => Some("ROLLBACK; BEGIN IMMEDIATE"),
                (false, false) => Some("ROLLBACK TO work; RELEASE work"),
            };
            if let Some(undo) = undo {
                sqlx::raw_sql(undo).execute(&mut *connection).await?;
            }
            alone &= !keep;
        }
    }
    Ok(())
}

//! The servers of one database: their pools, and what is known of them.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::freshness::{Choice, Freshness};
use super::position::WalPosition;
use super::table::Table;
use super::written::Positions;
use crate::postgres_options::{PostgresOptions, server_name};

/// The longest wait for a connection to a replica: there are others.
const ACQUIRE: Duration = Duration::from_millis(500);

/// A replica at one moment, for checks and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStats {
    /// `HOST:PORT`.
    pub name: String,
    /// Whether it is read from.
    pub selected: bool,
    /// How many bytes of the write-ahead log it is behind the primary; `None` while that isn't known.
    pub lag_bytes: Option<u64>,
    /// How long it has been behind; zero when it has all that the primary has.
    pub lag: Option<Duration>,
    /// Why it isn't read from, and what to do.
    pub problem: Option<String>,
    /// How many reads it has answered.
    pub reads: u64,
}

/// The servers of one database, the one of the URL first.
pub(crate) struct Group {
    table: Arc<Table>,
    servers: Vec<Server>,
    /// Connections to the primary, whichever server that is.
    primary: PgPool,
    /// How long a statement may take.
    statement: Duration,
    turn: AtomicUsize,
    noting: Mutex<()>,
    /// How often writes were sent elsewhere.
    switches: watch::Sender<u64>,
    positions: Positions,
}

struct Server {
    /// How to connect to it for writing.
    options: PgConnectOptions,
    /// Connections that only read, for when it is a replica.
    replica: PgPool,
    reads: AtomicU64,
}

impl Group {
    /// Makes the pools; nothing is connected to yet. `servers` aren't empty.
    pub fn new(options: &PostgresOptions, servers: Vec<PgConnectOptions>, first: PgConnectOptions) -> Self {
        let names = servers.iter().map(server_name).collect();
        let database = servers.first().and_then(PgConnectOptions::get_database);
        let namesakes = servers.iter().map(|server| server.get_database() == database).collect();
        let table = Arc::new(Table::new(names, namesakes, options.max_lag, options.max_lag_bytes));
        let primary = primary_pool(options, &table, first);
        let servers = servers.into_iter().enumerate().map(|(at, server)| Server {
            replica: replica_pool(options, &table, at, &server),
            options: server,
            reads: AtomicU64::new(0),
        });
        let servers = servers.collect();
        Self {
            table,
            servers,
            primary,
            statement: options.statement_timeout,
            turn: AtomicUsize::new(0),
            noting: Mutex::new(()),
            switches: watch::Sender::new(0),
            positions: Positions::default(),
        }
    }

    /// The servers, by number.
    pub fn servers(&self) -> Range<usize> {
        0..self.servers.len()
    }

    /// Connections to the primary.
    pub fn primary(&self) -> &PgPool {
        &self.primary
    }

    /// `HOST:PORT` of the server that is written to.
    pub fn primary_name(&self) -> &str {
        self.name(self.table.primary())
    }

    /// `HOST:PORT` of a server.
    pub fn name(&self, server: usize) -> &str {
        &self.table.names()[server]
    }

    /// How a server is connected to.
    pub fn connect_options(&self, server: usize) -> &PgConnectOptions {
        &self.servers[server].options
    }

    /// Connections to a server as a replica.
    pub fn replica(&self, server: usize) -> &PgPool {
        &self.servers[server].replica
    }

    /// How long a statement may take.
    pub fn statement_timeout(&self) -> Duration {
        self.statement
    }

    /// Notes the primary that was found at the start.
    pub fn found(&self, server: usize, answer: Answer) {
        self.table.settle(answer.identity());
        self.answered(server, answer);
    }

    /// Notes what a server has told; writes go to it from now on when it is the primary.
    pub fn answered(&self, server: usize, answer: Answer) {
        // One at a time, so that the pool and the table agree on the server.
        let _noting = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.table.switched();
        if self.table.answered(server, answer, Instant::now()) {
            let options = self.connect_options(server).clone();
            self.primary.set_connect_options(options);
            tracing::warn!(server = self.name(server), timeline = answer.position.timeline, "writes go to this server");
        }
        // After the pool knows where to connect to: whoever is ended by it may come back at once.
        if self.table.switched() != before {
            self.switches.send_modify(|switches| *switches += 1);
        }
    }

    /// Changes when writes are sent elsewhere after this call, or are not to be sent to the old primary any more: what is under way
    /// there may wait in vain.
    pub fn switches(&self) -> watch::Receiver<u64> {
        self.switches.subscribe()
    }

    /// Notes that a server is out of reach, or hangs.
    pub fn failed(&self, server: usize, problem: &dyn fmt::Display) {
        self.table.failed(server, format!("it can't be used, check that it runs and can be reached: {problem}"));
    }

    /// Whether a server has not answered for a while.
    pub fn is_silent(&self, server: usize) -> bool {
        self.table.is_silent(server, Instant::now())
    }

    /// Whose turn a read is, for [`choose`](Self::choose).
    pub fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Where a read goes that `tried` has failed.
    pub fn choose(&self, freshness: Freshness, turn: usize, tried: Option<usize>) -> Choice {
        self.table.choose(freshness, turn, tried)
    }

    /// Counts a read that a replica has answered.
    pub fn count(&self, server: usize) {
        self.servers[server].reads.fetch_add(1, Ordering::Relaxed);
    }

    /// The position that covers all that is committed; [`WalPosition::UNKNOWN`] when the primary doesn't tell it.
    pub async fn position(&self) -> WalPosition {
        self.positions.ask(&self.primary).await
    }

    /// All servers but the one that is written to.
    pub fn stats(&self) -> Vec<ReplicaStats> {
        let primary = self.table.primary();
        let replicas = self.servers.iter().enumerate().filter(|(at, _)| *at != primary);
        replicas
            .map(|(at, server)| {
                let told = self.table.standing(at);
                ReplicaStats {
                    name: self.name(at).to_owned(),
                    selected: told.selected,
                    lag_bytes: told.lag.map(|(bytes, _)| bytes),
                    lag: told.lag.map(|(_, lag)| lag),
                    problem: told.problem,
                    reads: server.reads.load(Ordering::Relaxed),
                }
            })
            .collect()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table.names()).finish()
    }
}

/// The pool that is written to. Its connections are to a primary of the newest timeline that is known, and to no other.
fn primary_pool(options: &PostgresOptions, table: &Arc<Table>, first: PgConnectOptions) -> PgPool {
    let (connected, acquired) = (table.clone(), table.clone());
    options
        .pool_options()
        // The pool takes its time to make those that it keeps: at a server that hangs it would be minutes, and after a promotion
        // still the old one.
        .min_connections(0)
        .after_connect(move |connection, _| {
            let table = connected.clone();
            Box::pin(async move {
                let answer = Answer::of(connection).await?;
                table.may_write(&answer).map_err(refused)
            })
        })
        // The hook asks itself: a connection to an old primary that hangs is closed without waiting for it.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let (table, now) = (acquired.clone(), Instant::now());
            Box::pin(async move {
                let is_outdated = || table.is_outdated(meta.age, now);
                // Again afterwards: a replica may have been promoted meanwhile.
                Ok(!is_outdated() && connection.ping().await.is_ok() && !is_outdated())
            })
        })
        .connect_lazy_with(first)
}

/// The pool of a server as a replica. A server that was started anew may be an older copy: what the one before has answered doesn't
/// count for it.
fn replica_pool(options: &PostgresOptions, table: &Arc<Table>, server: usize, connect: &PgConnectOptions) -> PgPool {
    let table = table.clone();
    options
        .pool_options()
        .min_connections(0)
        .acquire_timeout(options.acquire_timeout.min(ACQUIRE))
        .after_connect(move |connection, _| {
            let table = table.clone();
            Box::pin(async move {
                let started = answer::started(connection).await?;
                if table.is_same(server, started) {
                    return Ok(());
                }
                let problem = "it was started anew";
                table.failed(server, problem.to_owned());
                Err(refused(problem.to_owned()))
            })
        })
        .connect_lazy_with(connect.clone().options([("default_transaction_read_only", "on")]))
}

/// A connection that isn't to be used.
fn refused(problem: String) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(problem))
}

//! Takes a read to a server that is fresh enough, and elsewhere when that one fails.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use super::freshness::{Choice, Freshness};
use super::group::Group;
use super::position::WalPosition;
use crate::bounded::{READ, timed_out};
use crate::error::{Error, Kind, WorkError};
use crate::observer::Observer;

/// After this time a read on a replica looks whether the replica has gone silent, and then again and again.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How long a connection may take to show that it lives, after a failure.
const ALIVE: Duration = Duration::from_millis(250);

/// How a read on replicas has ended.
enum Outcome<R> {
    /// Answered, or failed in a way that would be the same elsewhere.
    Done(R),
    /// It is left to the primary.
    Left {
        /// Whether a replica has failed it.
        again: bool,
        /// Whether that replica lives: then it may have refused a statement that writes, and the primary must as well.
        refuse_writes: bool,
    },
}

/// How a read on one replica has ended.
enum Attempt<R> {
    Done(R),
    /// The replica has not replayed far enough.
    Behind,
    Failed {
        is_alive: bool,
    },
}

/// Reads from a group, as [`Postgres::read`](crate::Postgres::read) says.
pub(crate) async fn read<I, T, E, W>(
    group: &Group,
    observer: Option<&dyn Observer>,
    freshness: Freshness,
    input: &I,
    work: &W,
) -> Result<T, E>
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    let deadline = Instant::now() + READ;
    let mut failed = (false, false);
    if freshness != Freshness::Latest {
        match timeout_at(deadline, on_replicas(group, observer, freshness, input, work)).await {
            Ok(Outcome::Done(result)) => return result,
            Ok(Outcome::Left { again, refuse_writes }) => failed = (again, refuse_writes),
            Err(_) => return Err(E::from(timed_out())),
        }
    }
    let (again, refuse_writes) = failed;
    if let Some(observer) = observer {
        observer.read(group.primary_name(), false, again);
    }
    on_primary(group.primary(), deadline, refuse_writes, input, work).await
}

/// Reads on a connection to the primary.
pub(crate) async fn on_primary<I, T, E, W>(
    pool: &PgPool,
    deadline: Instant,
    refuse_writes: bool,
    input: &I,
    work: &W,
) -> Result<T, E>
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    let mut connection = match timeout_at(deadline, pool.acquire()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(E::from(Error::from(error))),
        Err(_) => return Err(E::from(timed_out())),
    };
    if refuse_writes {
        // It is left as it is then: others write by it.
        connection.close_on_drop();
        let set = sqlx::raw_sql("SET default_transaction_read_only = on");
        match timeout_at(deadline, set.execute(&mut *connection)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(E::from(Error::from(error))),
            Err(_) => return Err(E::from(timed_out())),
        }
    }
    match timeout_at(deadline, work(&mut connection, input)).await {
        Ok(result) => result,
        Err(_) => {
            // What hangs isn't used again.
            connection.close_on_drop();
            Err(E::from(timed_out()))
        }
    }
}

/// Reads on a replica, and once more on another when that one fails.
async fn on_replicas<I, T, E, W>(
    group: &Group,
    observer: Option<&dyn Observer>,
    freshness: Freshness,
    input: &I,
    work: &W,
) -> Outcome<Result<T, E>>
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    let turn = group.turn();
    let (mut tried, mut refuse_writes) = (None, false);
    loop {
        let (server, asked) = match (group.choose(freshness, turn, tried), freshness) {
            (Choice::Read(server), _) => (server, None),
            (Choice::Ask(server), Freshness::AtLeast(asked)) => (server, Some(asked)),
            (Choice::Ask(_) | Choice::Primary, _) => break,
        };
        if let Some(observer) = observer {
            observer.read(group.name(server), true, tried.is_some());
        }
        match attempt(group, server, asked, input, work).await {
            Attempt::Done(result) => return Outcome::Done(result),
            Attempt::Behind => break,
            Attempt::Failed { is_alive } => {
                refuse_writes |= is_alive;
                if tried.replace(server).is_some() {
                    break;
                }
            }
        }
    }
    Outcome::Left { again: tried.is_some(), refuse_writes }
}

/// A connection to a replica that is closed when it isn't kept: one on which an answer may still come waits for it before it is used
/// again, for ever when the replica is gone without a word.
struct Held {
    connection: PoolConnection<sqlx::Postgres>,
    keep: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.keep {
            self.connection.close_on_drop();
        }
    }
}

/// Reads on one replica, after it has said that it has replayed up to `asked`.
async fn attempt<I, T, E, W>(
    group: &Group,
    server: usize,
    asked: Option<WalPosition>,
    input: &I,
    work: &W,
) -> Attempt<Result<T, E>>
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    let pool = group.replica(server);
    let connection = match pool.acquire().await {
        Ok(connection) => connection,
        Err(error) => {
            // That all connections are in use is nothing that the replica could do anything about.
            if pool.num_idle() > 0 || pool.size() < pool.options().get_max_connections() {
                group.failed(server, &error);
            }
            return Attempt::Failed { is_alive: false };
        }
    };
    let mut held = Held { connection, keep: false };
    let began = Instant::now();
    let worked = unless_silent(group, server, async {
        if let Some(asked) = asked
            && answer::replayed(&mut held.connection).await.map_err(Error::from)? < asked.lsn
        {
            return Ok(None);
        }
        Ok::<_, Error>(Some(work(&mut held.connection, input).await))
    });
    let error = match worked.await {
        Some(Ok(Some(Ok(value)))) => {
            held.keep = true;
            group.count(server);
            return Attempt::Done(Ok(value));
        }
        Some(Ok(None)) => {
            held.keep = true;
            return Attempt::Behind;
        }
        Some(Ok(Some(Err(error)))) => error,
        Some(Err(error)) => E::from(error),
        None => {
            group.failed(server, &"it hangs");
            return Attempt::Failed { is_alive: false };
        }
    };
    let kind = error.kind();
    match kind {
        // It may not have replayed a migration yet: then it lacks a table or a column that the primary has.
        Some(Kind::Damaged) => {
            held.keep = true;
            return Attempt::Failed { is_alive: true };
        }
        Some(Kind::OutcomeUnknown) => {
            held.keep = true;
            return Attempt::Done(Err(error));
        }
        _ => {}
    }
    let is_alive = matches!(timeout(ALIVE, held.connection.ping()).await, Ok(Ok(())));
    held.keep = is_alive;
    if !is_alive {
        // A recovery conflict may end the session too.
        if kind != Some(Kind::Conflict) {
            group.failed(server, &"a connection to it has broken");
        }
        return Attempt::Failed { is_alive };
    }
    match kind {
        Some(Kind::Conflict) => Attempt::Failed { is_alive },
        // What has taken as long as a statement may would take as long elsewhere.
        Some(Kind::Unavailable) if began.elapsed() < group.statement_timeout() => Attempt::Failed { is_alive },
        _ => Attempt::Done(Err(error)),
    }
}

/// What `reading` gives; `None` when the server that it reads from has gone silent meanwhile.
async fn unless_silent<F: Future>(group: &Group, server: usize, reading: F) -> Option<F::Output> {
    let mut reading = pin!(reading);
    let mut wait = FIRST_LOOK;
    loop {
        match timeout(wait, reading.as_mut()).await {
            Ok(given) => return Some(given),
            Err(_) if group.is_silent(server) => return None,
            Err(_) => wait = LOOK,
        }
    }
}

//! Takes a read to a server that is fresh enough, and elsewhere when that one fails.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer;
use super::freshness::{Choice, Freshness};
use super::group::Group;
use super::position::WalPosition;
use crate::bounded::{READ, timed_out};
use crate::error::{Error, Kind, WorkError};
use crate::lease::{self, Lease};
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
        /// Whether that replica may have refused a statement that writes, or lacked what it needs: then the primary refuses writes
        /// as well.
        refuse_writes: bool,
    },
}

/// How a read on one replica has ended.
enum Attempt<R> {
    Done(R),
    /// The replica has not replayed far enough.
    Behind,
    Failed {
        /// Whether it may have refused a statement that writes.
        refuse_writes: bool,
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
    on_primary(group.primary(), Some(group), deadline, refuse_writes, input, work).await
}

/// Ends when a group sends its writes elsewhere after this call; never without a group.
pub(crate) fn switched(group: Option<&Group>) -> impl Future<Output = ()> + Send + use<> {
    let switches = group.map(Group::switches);
    async move {
        if let Some(mut switches) = switches
            && switches.changed().await.is_ok()
        {
            return;
        }
        pending().await
    }
}

/// Reads on a connection to the primary: of `group`, if there are several servers.
pub(crate) async fn on_primary<I, T, E, W>(
    pool: &PgPool,
    group: Option<&Group>,
    deadline: Instant,
    refuse_writes: bool,
    input: &I,
    work: &W,
) -> Result<T, E>
where
    E: WorkError,
    W: for<'c> Fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, Result<T, E>>,
{
    let mut connection = match timeout_at(deadline, lease::acquire(pool)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(E::from(error)),
        Err(_) => return Err(E::from(timed_out())),
    };
    let switched = switched(group);
    if refuse_writes {
        // Others must not get it as it is then, whenever this is cancelled: they write by it.
        connection.close_on_drop();
    }
    let reading = async {
        if refuse_writes {
            let set = sqlx::raw_sql("SET default_transaction_read_only = on");
            set.execute(&mut *connection).await.map_err(Error::from)?;
        }
        work(&mut connection, input).await
    };
    let read = tokio::select! {
        biased;
        read = timeout_at(deadline, reading) => read.map_err(|_| timed_out()),
        () = switched => Err(overtaken()),
    };
    match read {
        Ok(result) => {
            if result.is_ok() && !refuse_writes {
                connection.ended();
            }
            result
        }
        Err(error) => {
            // What hangs isn't used again.
            connection.close_on_drop();
            Err(E::from(error))
        }
    }
}

/// A read at a primary that is one no more.
fn overtaken() -> Error {
    let sentence = "the server that was read from is not the primary any more; try again";
    Error::Database(sqlx::Error::Io(std::io::Error::other(sentence)))
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
            Attempt::Failed { refuse_writes: here } => {
                refuse_writes |= here;
                if tried.replace(server).is_some() {
                    break;
                }
            }
        }
    }
    Outcome::Left { again: tried.is_some(), refuse_writes }
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
    let mut connection = match group.replica(server).acquire().await {
        Ok(connection) => Lease::new(connection),
        Err(error) => {
            // That there was none in time may be due to this process, or to a network that is slow: the probes know better.
            if !matches!(error, sqlx::Error::PoolTimedOut) {
                group.failed(server, &error);
            }
            return Attempt::Failed { refuse_writes: false };
        }
    };
    let began = Instant::now();
    let worked = unless_silent(group, server, async {
        if let Some(asked) = asked
            && answer::replayed(&mut connection).await.map_err(Error::from)? < asked.lsn
        {
            return Ok(None);
        }
        Ok::<_, Error>(Some(work(&mut connection, input).await))
    });
    let worked = worked.await;
    let error = match worked {
        Some(Ok(Some(Ok(value)))) => {
            connection.ended();
            group.count(server);
            return Attempt::Done(Ok(value));
        }
        Some(Ok(None)) => {
            connection.ended();
            return Attempt::Behind;
        }
        Some(Ok(Some(Err(error)))) => error,
        Some(Err(error)) => E::from(error),
        None => {
            connection.close_on_drop();
            group.failed(server, &"it hangs");
            return Attempt::Failed { refuse_writes: false };
        }
    };
    let kind = error.kind();
    match kind {
        // It may not have replayed a migration yet: then it lacks a table or a column that the primary has.
        Some(Kind::Damaged) => return Attempt::Failed { refuse_writes: true },
        Some(Kind::OutcomeUnknown) => return Attempt::Done(Err(error)),
        _ => {}
    }
    if !matches!(timeout(ALIVE, connection.ping()).await, Ok(Ok(()))) {
        connection.close_on_drop();
        // A recovery conflict may end the session too.
        if kind != Some(Kind::Conflict) {
            group.failed(server, &"a connection to it has broken");
        }
        return Attempt::Failed { refuse_writes: false };
    }
    match kind {
        Some(Kind::Conflict) => Attempt::Failed { refuse_writes: false },
        // What has taken as long as a statement may would take as long elsewhere.
        Some(Kind::Unavailable) if began.elapsed() < group.statement_timeout() => {
            Attempt::Failed { refuse_writes: error.is_refused_write() }
        }
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

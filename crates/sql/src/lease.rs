//! Connections of a pool: how they are taken, and that none goes back in the middle of something.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::timeout;

use crate::error::Error;

/// How long a connection may take to go back to its pool, the end of what was under way included. One that takes longer is closed:
/// its server hangs, or is at something that nobody waits for any more.
pub(crate) const GO_BACK: Duration = Duration::from_secs(1);

/// Whether a session is outside of transactions: there, a statement begins its own. A failed transaction refuses it.
const IS_OUTSIDE: &str = "SELECT now() = statement_timestamp()";

tokio::task_local! {
    /// Set where a connection goes back of which nothing is known.
    static UNKNOWN: ();
}

/// A connection of a pool. When it is dropped it goes back within a bound, or is closed.
pub(crate) struct Lease {
    connection: PoolConnection<sqlx::Postgres>,
    end: End,
}

/// What is known of a connection that goes back.
enum End {
    /// Nothing: whoever had it may have been cancelled.
    Unknown,
    /// Its work has ended, and its transaction too.
    Ended,
    /// It isn't to be used again.
    Closed,
}

impl Lease {
    pub fn new(connection: PoolConnection<sqlx::Postgres>) -> Self {
        Self { connection, end: End::Unknown }
    }

    /// Notes that the work has ended: the pool needn't ask the server for it.
    pub fn ended(&mut self) {
        self.end = End::Ended;
    }

    /// Notes that it isn't to be used again, whatever comes.
    pub fn close_on_drop(&mut self) {
        self.end = End::Closed;
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.end {
            // In the background, and within seconds.
            End::Closed => self.connection.close_on_drop(),
            End::Ended => go_back(self.connection.return_to_pool(), GO_BACK),
            // First what was under way, then the way back.
            End::Unknown => go_back(UNKNOWN.scope((), self.connection.return_to_pool()), GO_BACK * 2),
        }
    }
}

/// Has a connection return without anybody waiting for it; cut off, it is closed.
fn go_back(returning: impl Future<Output = ()> + Send + 'static, within: Duration) {
    tokio::spawn(async move {
        _ = timeout(within, returning).await;
    });
}

/// A connection of a pool.
///
/// # Errors
/// When there is none in time, with a sentence that says why and what to do.
pub(crate) async fn acquire(pool: &PgPool) -> Result<Lease, Error> {
    pool.acquire().await.map(Lease::new).map_err(|error| explained(pool, error))
}

/// What a failure to get a connection of a pool means.
pub(crate) fn explained(pool: &PgPool, error: sqlx::Error) -> Error {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return Error::Database(error);
    }
    let (within, max) = (pool.options().get_acquire_timeout(), pool.options().get_max_connections());
    Error::NoConnection(if pool.num_idle() == 0 && pool.size() >= max {
        format!(
            "no connection to the database was free within {within:?}, all {max} are in use; try again, and if it stays \
             so, look for slow statements (pg_stat_activity), or raise max_connections"
        )
    } else {
        format!(
            "no connection to the database could be made within {within:?}; look whether it runs and can be reached, and \
             try again"
        )
    })
}

/// Whether a connection that was let go may be used again. Of a [`Lease`] whose work isn't known to have ended the server is asked:
/// whoever had it may have been cancelled at any point, at a BEGIN too, after which the driver knows of no transaction, but the
/// server does. Connections for single statements go back unasked, since each question is one more statement.
///
/// # Errors
/// When the server's answer can't be read.
pub(crate) async fn may_return(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if UNKNOWN.try_with(|()| ()).is_err() {
        return Ok(true);
    }
    // It waits for what was under way first.
    match timeout(GO_BACK, sqlx::raw_sql(IS_OUTSIDE).fetch_one(connection)).await {
        Ok(Ok(row)) => row.try_get(0),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection that was let go can't be used again");
            Ok(false)
        }
        Err(_) => Ok(false),
    }
}

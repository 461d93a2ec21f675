//! Connections of a pool: how they are taken, and that none goes back in the middle of something.

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
    /// Set where a connection goes back whose work has ended.
    static ENDED: ();
}

/// A connection of a pool.
///
/// # Errors
/// When there is none in time, with a sentence that says why and what to do.
pub(crate) async fn acquire(pool: &PgPool) -> Result<PoolConnection<sqlx::Postgres>, Error> {
    pool.acquire().await.map_err(|error| explained(pool, error))
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

/// Gives back a connection whose work has ended. The caller doesn't wait for it, and the pool not for ever.
pub(crate) fn release(mut connection: PoolConnection<sqlx::Postgres>) {
    let returning = ENDED.scope((), connection.return_to_pool());
    // It ends within its bound; cut off, it closes the connection.
    tokio::spawn(async move {
        _ = timeout(GO_BACK, returning).await;
    });
}

/// Whether a connection that was let go may be used again. Unless its work has [ended](release), whoever had it may have been cancelled
/// at any point: at a BEGIN too, after which the driver knows of no transaction, but the server does.
///
/// # Errors
/// When the server's answer can't be read.
pub(crate) async fn may_return(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if ENDED.try_with(|()| ()).is_ok() {
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

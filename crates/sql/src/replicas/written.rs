//! Asking a primary how far it has written.

use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::position::WalPosition;
use crate::lease::Lease;

/// How long the primary may take to tell its position.
const TELL: Duration = Duration::from_secs(1);

/// Asks the primary of a pool for the position that covers all that is committed, within a second. The `system` is asked for too
/// unless it is known.
///
/// # Errors
/// When there is no connection in time, or the primary doesn't tell.
pub(crate) async fn ask(primary: &PgPool, system: Option<u64>) -> Result<WalPosition, sqlx::Error> {
    let deadline = Instant::now() + TELL;
    let mut connection = match timeout_at(deadline, primary.acquire()).await {
        Ok(acquired) => Lease::new(acquired?),
        Err(_) => return Err(sqlx::Error::PoolTimedOut),
    };
    match timeout_at(deadline, answer::written(&mut connection, system)).await {
        Ok(told) => {
            if told.is_ok() {
                connection.ended();
            }
            told
        }
        Err(_) => {
            // What hangs isn't used again.
            connection.close_on_drop();
            Err(sqlx::Error::PoolTimedOut)
        }
    }
}

/// What a primary without replicas has told of itself.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    /// The database system.
    system: OnceLock<u64>,
}

impl Alone {
    /// The position that covers all that is committed; [`WalPosition::UNKNOWN`] when the primary doesn't tell it.
    pub async fn position(&self, primary: &PgPool) -> WalPosition {
        match ask(primary, self.system.get().copied()).await {
            Ok(position) => {
                self.system.get_or_init(|| position.system);
                position
            }
            Err(error) => {
                tracing::warn!(%error, "the primary has not told its position; what needs it is read from the primary");
                WalPosition::UNKNOWN
            }
        }
    }
}

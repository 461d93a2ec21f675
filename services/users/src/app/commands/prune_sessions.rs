//! Dropping sessions that have expired.

use crate::app::{App, AppError};

/// How many sessions and tokens one transaction drops at most, so that nobody waits long behind it.
const BATCH: u32 = 500;
/// How many such transactions a round has at most.
const BATCHES: u32 = 100;

impl App {
    /// Drops sessions and tokens that have expired: all of them, unless there are very many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune_sessions(&self) -> Result<(), AppError> {
        for _ in 0..BATCHES {
            if !self.sessions.prune(self.clock.now(), BATCH).await? {
                break;
            }
        }
        Ok(())
    }
}

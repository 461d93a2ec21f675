//! Forgetting keys that ended long ago.

use crate::app::{App, AppError};
use crate::domain::KEEP_ENDED_KEYS;

/// How many keys one transaction forgets at most, so that nobody waits long behind it.
const BATCH: u32 = 500;
/// How many such transactions a round has at most.
const BATCHES: u32 = 100;

impl App {
    /// Forgets keys that ended [`KEEP_ENDED_KEYS`] ago: all of them, unless there are very many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune_keys(&self) -> Result<(), AppError> {
        let before = self.clock.now() - KEEP_ENDED_KEYS;
        for _ in 0..BATCHES {
            if !self.keys.prune_keys(before, BATCH).await? {
                break;
            }
        }
        Ok(())
    }
}

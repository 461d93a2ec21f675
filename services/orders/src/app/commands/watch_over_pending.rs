//! The watchdog: no order waits for the inventory for ever.

use std::time::Duration;

use crate::app::{App, AppError};
use crate::domain::Command;
use crate::ports::StoreError;

/// How often the inventory is asked again before an order is rejected.
const ASK_AT_MOST: u32 = 3;
/// How many orders one round looks at.
const BATCH: usize = 100;

impl App {
    /// Asks the inventory again about orders that have waited longer than `patience`, and rejects those for which it
    /// was asked often enough. Returns how many orders it has looked at.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn watch_over_pending(&self, patience: Duration) -> Result<usize, AppError> {
        // Nothing has waited for longer than there is time.
        let patience = time::Duration::try_from(patience).unwrap_or(time::Duration::MAX);
        let Some(before) = self.clock.now().checked_sub(patience) else { return Ok(0) };
        let waiting = self.read_model.waiting(before, BATCH).await?;
        for name in &waiting {
            // The read model may be behind; the history is not.
            let order = match self.load(name).await {
                Ok(Some(order)) => order,
                Ok(None) => continue,
                // It waits for its repair; the others must not.
                Err(AppError::Store(StoreError::Damaged(_))) => continue,
                Err(error) => return Err(error),
            };
            if order.updated_at > before {
                continue;
            }
            let command_id = format!("watchdog/{}", order.reservation_requests + 1);
            match self.execute(name, &Command::AskAgain { at_most: ASK_AT_MOST }, None, command_id, None).await {
                Ok(_) | Err(AppError::Contended) => fail::fail_point!("watchdog::asked"),
                Err(error) => return Err(error),
            }
        }
        Ok(waiting.len())
    }
}

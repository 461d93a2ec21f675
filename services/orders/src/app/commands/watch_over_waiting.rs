//! The watchdog: no order waits for the inventory for ever.

use std::time::Duration;

use meshwork_aip::echo;
use meshwork_api::OrderName;

use crate::app::{App, AppError};
use crate::domain::Command;
use crate::ports::{StoreError, Waiting};

/// How often the inventory is asked again, in each state in which an order waits for it, before the order ends.
const ASK_AT_MOST: u32 = 3;
/// How many orders are looked at before the caller is heard of again.
const BATCH: usize = 100;

impl App {
    /// Asks the inventory again about the next orders that have waited longer than `patience`, and ends those about which it
    /// was asked often enough: it rejects one that was not confirmed, and cancels one whose pieces were not allocated.
    /// Returns how many orders it has looked at.
    ///
    /// `cursor` is the order to go on behind, and is set to the last one that was looked at; to `None` behind the last that
    /// waits. It is set when this fails too, so that an order that fails each time is no more than passed by, and the others
    /// have their turn.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn watch_over_waiting(
        &self,
        patience: Duration,
        cursor: &mut Option<Waiting>,
    ) -> Result<usize, AppError> {
        // Nothing has waited for longer than there is time.
        let patience = time::Duration::try_from(patience).unwrap_or(time::Duration::MAX);
        let Some(before) = self.clock.now().checked_sub(patience) else { return Ok(0) };
        let waiting = self.read_model.waiting(before, cursor.as_ref(), BATCH).await?;
        let looked_at = waiting.len();
        for waiting in waiting {
            let id = &cursor.insert(waiting).id;
            let name = match OrderName::new(id.as_str()) {
                Ok(name) => name,
                Err(error) => {
                    let id = echo(id);
                    tracing::error!(%id, %error, "a row of the view names no order, and is passed by; make the view anew");
                    continue;
                }
            };
            // The read model may be behind; the history is not.
            let order = match self.load(&name).await {
                Ok(Some(order)) => order,
                Ok(None) => continue,
                // It waits for its repair; the others must not.
                Err(AppError::Store(StoreError::Damaged(_))) => continue,
                Err(error) => return Err(error),
            };
            if order.updated_at > before || !order.is_waiting() {
                continue;
            }
            let command = Command::AskAgain { at_most: ASK_AT_MOST };
            // The request's number: whoever else watches over this order means the same command.
            let command_id = format!("watchdog/{}", order.next_request(ASK_AT_MOST));
            // Only of the order as it was seen: one that has gone on since has not been silent.
            match self.execute(&name, &command, Some(order.version), command_id, None).await {
                Ok(_) => fail::fail_point!("watchdog::asked"),
                Err(AppError::EtagMismatch | AppError::Contended) => {}
                Err(error) => return Err(error),
            }
        }
        if looked_at < BATCH {
            *cursor = None;
        }
        Ok(looked_at)
    }
}

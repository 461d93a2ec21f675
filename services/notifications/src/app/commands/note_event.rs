//! An event has come: make the notification that it calls for.

use crate::app::Notifications;
use crate::domain::Notice;
use crate::ports::{Arrival, Recorded, StoreError};

impl Notifications {
    /// Notes an event and does what it calls for, in one transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_event(&self, arrival: Arrival, notice: Notice) -> Result<Recorded, StoreError> {
        let makes_letters = matches!(notice, Notice::Letter { .. } | Notice::Allocated { .. });
        let recorded = self.store.record(arrival, notice, self.rules.freshness).await?;
        if makes_letters && recorded == Recorded::Applied {
            self.due.notify_one();
        }
        Ok(recorded)
    }
}

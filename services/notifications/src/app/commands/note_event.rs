//! An event has come: make the notification that it calls for.

use meshwork_api::UserName;

use crate::app::Notifications;
use crate::domain::{Notification, Occasion};
use crate::ports::{Arrival, Recorded, StoreError};

impl Notifications {
    /// Notes an event and makes its notification, if it calls for one, in one transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_event(
        &self,
        event_id: &str,
        arrival: Arrival,
        notice: Option<(UserName, Occasion)>,
    ) -> Result<Recorded, StoreError> {
        let now = self.clock.now();
        let notification =
            notice.map(|(recipient, occasion)| Notification::new(event_id.to_owned(), recipient, occasion, now));
        let is_due = notification.is_some();
        let recorded = self.store.record(arrival, notification).await?;
        if is_due && recorded == Recorded::Applied {
            self.due.notify_one();
        }
        Ok(recorded)
    }
}

//! Sends a notification again.

use meshwork_api::NotificationName;

use crate::app::{CallError, Notifications};
use crate::domain::Notification;
use crate::ports::Resent;

impl Notifications {
    /// Makes a notification due at once, though it was sent or given up, and returns it. Its letter keeps its id, so that a
    /// mailbox which has it may take both for one.
    ///
    /// # Errors
    /// When it doesn't exist or is being sent; else when the store fails.
    pub async fn resend_notification(&self, name: &NotificationName) -> Result<Notification, CallError> {
        let id = Notification::id_in(name).ok_or(CallError::NotFound)?;
        match self.store.resend(id).await? {
            Resent::Yes(notification) => {
                self.due.notify_one();
                Ok(*notification)
            }
            Resent::BeingSent => Err(CallError::BeingSent),
            Resent::Missing => Err(CallError::NotFound),
        }
    }
}

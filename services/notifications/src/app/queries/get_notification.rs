//! Returns a notification.

use meshwork_api::NotificationName;
use meshwork_chassis::Principal;

use crate::app::{CallError, Notifications};
use crate::domain::Notification;

impl Notifications {
    /// The notification, for its recipient and for staff.
    ///
    /// # Errors
    /// [`CallError::NotAllowed`] for everybody else, whether it exists or not; else when it doesn't exist or the store
    /// fails.
    pub async fn get_notification(
        &self,
        caller: &Principal,
        name: &NotificationName,
    ) -> Result<Notification, CallError> {
        let found = match Notification::id_in(name) {
            Some(id) => self.store.get(id).await?,
            None => None,
        };
        match found {
            Some(notification) if caller.is_staff() || caller.user() == Some(&notification.recipient) => {
                Ok(notification)
            }
            None if caller.is_staff() => Err(CallError::NotFound),
            _ => Err(CallError::NotAllowed),
        }
    }
}

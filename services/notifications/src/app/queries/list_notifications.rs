//! Lists notifications.

use meshwork_aip::page::{Page, PageRequest};
use meshwork_chassis::Principal;

use crate::app::{CallError, Notifications};
use crate::domain::Notification;
use crate::ports::Selection;

impl Notifications {
    /// Notifications, newest first: everybody's for staff, their own for others.
    ///
    /// # Errors
    /// [`CallError::NotAllowed`] when others than staff ask for somebody else's; else when the store fails.
    pub async fn list_notifications(
        &self,
        caller: &Principal,
        mut selection: Selection,
        page: PageRequest,
    ) -> Result<Page<Notification>, CallError> {
        if !caller.is_staff() {
            let own = caller.user().ok_or(CallError::NotAllowed)?;
            if selection.recipient.as_ref().is_some_and(|recipient| recipient != own) {
                return Err(CallError::NotAllowed);
            }
            selection.recipient = Some(own.clone());
        }
        Ok(self.store.list(selection, page).await?)
    }
}

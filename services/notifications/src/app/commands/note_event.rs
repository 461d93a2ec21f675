//! An event has come: make the notification that it calls for.

use meshwork_aip::page::PageRequest;
use meshwork_api::UserName;

use crate::app::Notifications;
use crate::domain::Notice;
use crate::ports::{Arrival, Recorded, Selection, StoreError};

/// How many notifications of somebody who is erased are looked up at once.
const PAGE: usize = 200;

impl Notifications {
    /// Notes an event and does what it calls for, in one transaction; the letters of an account that is erased go before.
    ///
    /// # Errors
    /// When the store fails, or a letter can't be removed.
    pub async fn note_event(&self, arrival: Arrival, notice: Notice) -> Result<Recorded, StoreError> {
        let makes_letters = matches!(notice, Notice::Letter { .. } | Notice::Allocated { .. });
        if let Notice::Erased { user } = &notice {
            self.discard_letters(user).await?;
        }
        let recorded = self.store.record(arrival, notice, self.rules.freshness).await?;
        if makes_letters && recorded == Recorded::Applied {
            self.due.notify_one();
        }
        Ok(recorded)
    }

    /// Removes the letters to somebody that the mail system keeps for us.
    async fn discard_letters(&self, user: &UserName) -> Result<(), StoreError> {
        let selection = Selection { recipient: Some(user.clone()), ..Selection::default() };
        let mut page = PageRequest { size: PAGE, after: None };
        loop {
            let listed = self.store.list(selection.clone(), page).await?;
            for notification in &listed.items {
                // The rows name the letters: they stay until these are gone.
                let discarded = self.mailer.discard(notification.id).await;
                discarded.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            }
            let Some(after) = listed.next else { return Ok(()) };
            page = PageRequest { size: PAGE, after: Some(after) };
        }
    }
}

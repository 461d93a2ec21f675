//! Deleting an account.

use meshwork_api::UserName;

use crate::app::{App, AppError};
use crate::domain::User;

/// Deletes an account softly.
#[derive(Clone, Debug)]
pub struct DeleteUser {
    /// The account.
    pub name: UserName,
    /// The version that the caller has read; any when `None`.
    pub expected: Option<i64>,
}

impl App {
    /// Deletes an account: it can't sign in any more, and its sessions end in the same transaction. Its access tokens are
    /// good until their end, which nothing can bring forward. Its id and its address stay taken.
    ///
    /// # Errors
    /// When there is no such account, it is deleted already or is at another version.
    pub async fn delete_user(&self, command: DeleteUser) -> Result<User, AppError> {
        let DeleteUser { name, expected } = command;
        let now = self.clock.now();
        let changed = self.users.change(&name, Box::new(move |user| user.delete(expected, now).map(Some))).await;
        changed.map_err(|error| AppError::of_change(error, &name))
    }
}

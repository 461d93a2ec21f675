//! Listing accounts.

use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::ports::{UserCursor, UserFilter, UserPage};

/// A page of accounts, the oldest first.
#[derive(Clone, Debug)]
pub struct ListUsers {
    /// Which accounts.
    pub filter: UserFilter,
    /// How many at most.
    pub size: usize,
    /// Where the page before ended.
    pub after: Option<UserCursor>,
    /// How fresh it must be.
    pub freshness: Freshness,
}

impl App {
    /// A page of accounts, and what of them could not be reached.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_users(&self, query: ListUsers) -> Result<UserPage, AppError> {
        Ok(self.users.list(&query.filter, query.size, query.after.as_ref(), query.freshness).await?)
    }
}

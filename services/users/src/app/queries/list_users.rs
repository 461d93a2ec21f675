//! Listing accounts.

use meshwork_chassis::page::Page;

use crate::app::{App, AppError};
use crate::domain::User;
use crate::ports::{UserCursor, UserFilter};

/// A page of accounts, the oldest first.
#[derive(Clone, Debug)]
pub struct ListUsers {
    /// Which accounts.
    pub filter: UserFilter,
    /// How many at most.
    pub size: usize,
    /// Where the page before ended.
    pub after: Option<UserCursor>,
}

impl App {
    /// A page of accounts.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_users(&self, query: ListUsers) -> Result<Page<User>, AppError> {
        Ok(self.users.list(&query.filter, query.size, query.after.as_ref()).await?)
    }
}

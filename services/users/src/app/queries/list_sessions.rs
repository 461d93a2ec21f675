//! Listing the sessions of an account.

use meshwork_aip::page::Page;
use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::Session;

/// A page of the sessions of an account, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListSessions {
    /// The account.
    pub user: UserName,
    /// How many at most.
    pub size: usize,
    /// The id of the last session of the page before.
    pub after: Option<String>,
}

impl App {
    /// A page of the sessions that have not ended.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub async fn list_sessions(&self, query: ListSessions) -> Result<Page<Session>, AppError> {
        let ListSessions { user, size, after } = query;
        let page = self.sessions.list_sessions(&user, size, after.as_deref(), self.clock.now()).await?;
        if page.items.is_empty() && self.users.get(&user, Freshness::Latest).await?.is_none() {
            return Err(AppError::NotFound(user));
        }
        Ok(page)
    }
}

//! Listing the keys of an account.

use meshwork_aip::page::Page;
use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::ApiKey;

/// A page of the keys of an account, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListApiKeys {
    /// The account.
    pub user: UserName,
    /// How many at most.
    pub size: usize,
    /// The id of the last key of the page before.
    pub after: Option<String>,
}

impl App {
    /// A page of the keys, those that have ended too.
    ///
    /// # Errors
    /// When there is no such account, or the store fails.
    pub async fn list_api_keys(&self, query: ListApiKeys) -> Result<Page<ApiKey>, AppError> {
        let ListApiKeys { user, size, after } = query;
        let page = self.keys.list_keys(&user, size, after.as_deref()).await?;
        if page.items.is_empty() && self.users.get(&user, Freshness::Latest).await?.is_none() {
            return Err(AppError::NotFound(user));
        }
        Ok(page)
    }
}

//! Reading a key.

use meshwork_api::ApiKeyName;

use crate::app::{App, AppError};
use crate::domain::ApiKey;

impl App {
    /// A key, one that has ended too.
    ///
    /// # Errors
    /// When there is no such key, or the store fails.
    pub async fn get_api_key(&self, name: ApiKeyName) -> Result<ApiKey, AppError> {
        self.keys.get_key(&name).await?.ok_or(AppError::ApiKeyNotFound(name))
    }
}

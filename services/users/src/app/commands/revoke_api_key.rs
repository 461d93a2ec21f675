//! Revoking a key.

use meshwork_api::ApiKeyName;

use crate::app::{App, AppError};
use crate::domain::ApiKey;

impl App {
    /// Revokes a key: from now on it is exchanged for nothing. It is no error when it was revoked. Whether the caller may do it is
    /// decided before.
    ///
    /// # Errors
    /// When there is no such key, or the store fails.
    pub async fn revoke_api_key(&self, name: ApiKeyName) -> Result<ApiKey, AppError> {
        let revoked = self.keys.revoke_key(&name, self.clock.now()).await?;
        revoked.ok_or(AppError::ApiKeyNotFound(name))
    }
}

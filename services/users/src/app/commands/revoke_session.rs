//! Ending a session by its name.

use meshwork_api::SessionName;

use crate::app::{App, AppError};

impl App {
    /// Ends a session. It is no error when there is none. Whether the caller may end it is decided before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_session(&self, name: SessionName) -> Result<(), AppError> {
        Ok(self.sessions.revoke_session(&name).await?)
    }
}

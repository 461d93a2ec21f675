//! Signing out.

use meshwork_chassis::config::Secret;

use crate::app::{App, AppError, refresh_token};

impl App {
    /// Ends the session of a refresh token. It is no error when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, presented: Secret) -> Result<(), AppError> {
        Ok(self.sessions.end(refresh_token::presented(&presented)).await?)
    }
}

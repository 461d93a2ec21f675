//! Refreshing a session.

use meshwork_chassis::config::Secret;

use crate::app::commands::Tokens;
use crate::app::{App, AppError, refresh_token};
use crate::ports::Renewal;

impl App {
    /// Gives new tokens for a refresh token and uses that up.
    ///
    /// # Errors
    /// [`AppError::SessionEnded`] for a token that is unknown, used, too old or of an ended session. A used one ends
    /// its session.
    pub async fn refresh_session(&self, presented: Secret) -> Result<Tokens, AppError> {
        let now = self.clock.now();
        let presented = refresh_token::presented(&presented);
        let (token, next) = self.next_refresh_token(presented.user.as_ref(), now);
        match self.sessions.renew(presented, next, now).await? {
            Renewal::Renewed(user) => Ok(self.tokens_for(&user, token, next.expire_time, now)?),
            Renewal::Unknown | Renewal::Expired => Err(AppError::SessionEnded),
            Renewal::Reused(user) => {
                tracing::warn!(user = %user.name, "a refresh token came a second time; its session was ended");
                Err(AppError::SessionEnded)
            }
        }
    }
}

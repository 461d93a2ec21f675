//! Refreshing a session.

use meshwork_chassis::config::Secret;

use crate::app::commands::Tokens;
use crate::app::{App, AppError, refresh_token};
use crate::domain::Repeat;
use crate::ports::{NewToken, Renewal};

impl App {
    /// Gives new tokens for a refresh token and uses that up. One that was used up a moment ago gives the same next refresh
    /// token again while that is unused: the answer to it may have been lost.
    ///
    /// # Errors
    /// [`AppError::SessionEnded`] for a token that is unknown, used, too old or of an ended session. A used one ends
    /// its session.
    pub async fn refresh_session(&self, token: Secret) -> Result<Tokens, AppError> {
        let now = self.clock.now();
        let presented = refresh_token::presented(&token);
        let salt = refresh_token::salt();
        let next = self.successors.successor(&token, salt);
        let repeat = self.lifetimes.refresh_repeat;
        let new = NewToken {
            digest: refresh_token::digest(&next),
            expire_time: now + self.lifetimes.refresh_token,
            repeat: (!repeat.is_zero()).then(|| Repeat { salt, until: now + repeat }),
        };
        match self.sessions.renew(presented.clone(), new, now).await? {
            Renewal::Renewed(session) => Ok(self.tokens_for(&session, next, new.expire_time, now)?),
            Renewal::Repeated(session, first) => {
                let Some(next) = self.successors.successor_of_digest(&token, first.salt, first.digest) else {
                    // As if it could not be given again at all.
                    self.sessions.end(presented).await?;
                    tracing::warn!(
                        user = %session.user.name,
                        "a refresh token came a second time, and the key of its answer is gone; its session was ended"
                    );
                    return Err(AppError::SessionEnded);
                };
                Ok(self.tokens_for(&session, next, first.expire_time, now)?)
            }
            Renewal::Unknown | Renewal::Expired => Err(AppError::SessionEnded),
            Renewal::Reused(user) => {
                tracing::warn!(user = %user.name, "a refresh token came a second time; its session was ended");
                Err(AppError::SessionEnded)
            }
        }
    }
}

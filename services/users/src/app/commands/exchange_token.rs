//! Exchanging what others have issued for a token of ours.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use time::OffsetDateTime;

use crate::app::{App, AppError};
use crate::ports::ForeignTokenError;

/// A token of ours that was given for another.
#[derive(Clone, Debug)]
pub struct ExchangedToken {
    /// Whom it speaks for.
    pub user: UserName,
    /// What goes with each call.
    pub access_token: Secret,
    /// When it expires.
    pub access_token_expire_time: OffsetDateTime,
}

impl App {
    /// Gives a token of ours for a token of another issuer.
    ///
    /// # Errors
    /// [`AppError::TokenNotExchanged`], whatever is wrong with the token; [`AppError::ForeignKeysUnavailable`] while its issuer's
    /// keys can't be fetched.
    pub async fn exchange_token(&self, token: Secret) -> Result<ExchangedToken, AppError> {
        match self.foreign.verify(token.expose()).await {
            Ok(identity) => self.exchange_foreign(identity).await,
            Err(ForeignTokenError::Invalid) => Err(AppError::TokenNotExchanged),
            Err(ForeignTokenError::KeysUnavailable) => Err(AppError::ForeignKeysUnavailable),
        }
    }
}

//! Exchanging what others have issued, or a key, for an access token of ours.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use time::OffsetDateTime;

use crate::app::{App, AppError, api_key};
use crate::domain::{Role, User};
use crate::ports::{Basis, ForeignTokenError, Origin};

/// Exchanges an API key, or another issuer's token.
#[derive(Clone, Debug)]
pub struct ExchangeToken {
    /// The key or the token.
    pub token: Secret,
    /// Where the call comes from.
    pub origin: Origin,
}

/// What a key or a token was exchanged for.
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
    /// Gives an access token for a key or another issuer's token. It lives no longer than that.
    ///
    /// # Errors
    /// [`AppError::TokenNotExchanged`], whatever is wrong with it or with its account; [`AppError::TooManyAttempts`], before anything
    /// is looked up, for who has tried too many wrong ones; [`AppError::ForeignKeysUnavailable`] while nobody can tell.
    pub async fn exchange_token(&self, command: ExchangeToken) -> Result<ExchangedToken, AppError> {
        let ExchangeToken { token, origin } = command;
        if origin.is_internal {
            return self.exchange(&token).await;
        }
        self.limits.exchange(&origin.address).await?;
        let exchanged = self.exchange(&token).await;
        if !matches!(exchanged, Err(AppError::TokenNotExchanged)) {
            self.limits.exchanged(&origin.address).await;
        }
        exchanged
    }

    async fn exchange(&self, token: &Secret) -> Result<ExchangedToken, AppError> {
        if api_key::is_key(token) { self.exchange_key(token).await } else { self.exchange_other(token).await }
    }

    async fn exchange_key(&self, token: &Secret) -> Result<ExchangedToken, AppError> {
        let presented = api_key::presented(token).ok_or(AppError::TokenNotExchanged)?;
        let found = self.keys.find_key(&presented).await?;
        let now = self.clock.now();
        // An earlier release made keys of accounts of other issuers' subjects, which would outlive what the issuer says of them.
        let good = found.filter(|(key, user)| key.is_live(now) && !user.is_foreign());
        let (key, user) = good.ok_or(AppError::TokenNotExchanged)?;
        self.access_token(&user, user.role, Basis::Key(key.name.id(), &key.scopes), key.expire_time, now)
    }

    async fn exchange_other(&self, token: &Secret) -> Result<ExchangedToken, AppError> {
        let identity = self.foreign.verify(token.expose()).await.map_err(|error| match error {
            ForeignTokenError::Invalid => AppError::TokenNotExchanged,
            ForeignTokenError::KeysUnavailable => AppError::ForeignKeysUnavailable,
        })?;
        self.exchange_foreign(identity).await
    }

    /// An access token for an account that lives, in a role, which ends with what it is given for.
    pub(super) fn access_token(
        &self,
        user: &User,
        role: Role,
        basis: Basis<'_>,
        ends: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<ExchangedToken, AppError> {
        let access_token_expire_time = ends.min(now + self.lifetimes.access_token);
        if user.is_deleted() || access_token_expire_time <= now {
            return Err(AppError::TokenNotExchanged);
        }
        Ok(ExchangedToken {
            user: user.name.clone(),
            access_token: self.tokens.issue(&user.name, role, basis, now, access_token_expire_time)?,
            access_token_expire_time,
        })
    }
}

//! What can go wrong in a use case.

use meshwork_api::{ApiKeyName, UserName};

use crate::domain::{MAX_LIVE_KEYS, UserError};
use crate::ports::{ChangeError, CredentialsError, HashError, SignError, StoreError, TooManyAttempts};

/// What can go wrong in a use case.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no such account.
    #[error("{0} does not exist")]
    NotFound(UserName),
    /// An account has the address already.
    #[error("an account has this e-mail address already")]
    EmailTaken,
    /// An account has the id already.
    #[error("{0} exists already")]
    IdTaken(UserName),
    /// The request id came with another body, or with another password.
    #[error("the request_id came with another body before")]
    RequestReused,
    /// The account doesn't admit the change.
    #[error(transparent)]
    Refused(#[from] UserError),
    /// Others have changed the account at the same time.
    #[error("{0} has been changed by others at the same time; read it again")]
    Conflict(UserName),
    /// There is no such account, or the password is wrong; nobody is told which.
    #[error("the e-mail address or the password is wrong")]
    BadCredentials,
    /// The current password is needed for this change.
    #[error("the current password is needed to change one's own e-mail address or password")]
    PasswordRequired,
    /// What was given as the current password is another.
    #[error("current_password is not the password of {0}")]
    WrongPassword(UserName),
    /// A refresh token is unknown, used or too old.
    #[error("the session has ended; sign in again")]
    SessionEnded,
    /// There is no such key.
    #[error("{0} does not exist")]
    ApiKeyNotFound(ApiKeyName),
    /// The account has a key with the id already.
    #[error("{0} exists already")]
    ApiKeyIdTaken(ApiKeyName),
    /// The account has as many keys that live as it may.
    #[error("{0} has {MAX_LIVE_KEYS} keys that live, and may have no more; revoke one first")]
    TooManyApiKeys(UserName),
    /// A key or a token gives no access token.
    #[error("the key or the token can't be exchanged")]
    TokenNotExchanged,
    /// The keys of another issuer can't be fetched.
    #[error("the keys of the token's issuer can't be fetched at this moment; try again")]
    ForeignKeysUnavailable,
    /// There were too many attempts.
    #[error(transparent)]
    TooManyAttempts(#[from] TooManyAttempts),
    /// A password can't be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A token can't be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A first account can't be made.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl AppError {
    /// The error of a change to `name`.
    pub(super) fn of_change(error: ChangeError, name: &UserName) -> Self {
        match error {
            ChangeError::NotFound => AppError::NotFound(name.clone()),
            ChangeError::EmailTaken => AppError::EmailTaken,
            ChangeError::Refused(error) => AppError::Refused(error),
            ChangeError::Conflict => AppError::Conflict(name.clone()),
            ChangeError::Store(error) => AppError::Store(error),
        }
    }
}

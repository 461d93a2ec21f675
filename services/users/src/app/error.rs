//! What can go wrong in a use case.

use meshwork_api::UserName;

use crate::domain::UserError;
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
    /// A key or a token of another issuer gives no token of ours; nobody is told why.
    #[error("the token is not valid here; get another from its issuer")]
    TokenNotExchanged,
    /// A token of another issuer can't be verified at this moment.
    #[error("the keys that verify the token can't be fetched at this moment; try again")]
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

//! Tokens of other issuers.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::Role;

/// Whom another issuer's token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignIdentity {
    /// The issuer, one of those that the settings name.
    pub issuer: String,
    /// The issuer's name for the person, 1 to 255 bytes. Nothing else says who it is: not the e-mail address, which some issuers
    /// let people choose.
    pub subject: String,
    /// The role that the settings give the subject: a customer's unless they say otherwise, and never a service's.
    pub role: Role,
    /// Whether an account is made for the subject when it has none.
    pub may_create: bool,
    /// When the token expires.
    pub expire_time: OffsetDateTime,
}

/// Why another issuer's token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignTokenError {
    /// It is no token, has expired, was signed by somebody else, or is for somebody else.
    #[error("it is no valid token of an issuer that the settings name, for an audience that they name")]
    Invalid,
    /// The keys of its issuer could not be fetched yet.
    #[error("the keys of the token's issuer can't be fetched at this moment")]
    KeysUnavailable,
}

/// Verifies tokens of the issuers that the settings name.
#[async_trait]
pub trait ForeignTokens: Send + Sync + 'static {
    /// Whose token it is, verified by its issuer's keys.
    ///
    /// # Errors
    /// When it isn't a good token, or there are no keys yet to tell.
    async fn verify(&self, token: &str) -> Result<ForeignIdentity, ForeignTokenError>;
}

//! Tokens that others have issued.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::{Role, User};

/// Whom another issuer's token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignIdentity {
    /// The issuer, the `iss` of the token.
    pub issuer: String,
    /// Who it is at that issuer, the `sub` of the token.
    pub subject: String,
    /// The role that accounts of the issuer's have.
    pub role: Role,
    /// When the token expires.
    pub expire_time: OffsetDateTime,
}

/// Why another issuer's token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignTokenError {
    /// It is not a valid token of an issuer that is trusted.
    #[error("the token is not a valid one of an issuer that is trusted")]
    Invalid,
    /// The keys of its issuer can't be fetched at this moment.
    #[error("the keys of the token's issuer can't be fetched at this moment")]
    KeysUnavailable,
}

/// The issuers that are trusted beside ourselves.
#[async_trait]
pub trait ForeignTokens: Send + Sync + 'static {
    /// Whose token it is, verified by its issuer's keys.
    ///
    /// # Errors
    /// When it is none of a trusted issuer's, or can't be verified at this moment.
    async fn verify(&self, token: &str) -> Result<ForeignIdentity, ForeignTokenError>;
}

/// The accounts of those whom other issuers' tokens speak for.
#[async_trait]
pub trait ForeignAccounts: Send + Sync + 'static {
    /// The account of a subject of an issuer, a deleted one too. It is found by these two alone, never by an e-mail address.
    ///
    /// # Errors
    /// When the store fails.
    async fn account_of(&self, identity: &ForeignIdentity) -> Result<User, StoreError>;
}

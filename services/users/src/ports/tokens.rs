//! What is signed, and the keys that verify it.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use time::OffsetDateTime;

use crate::domain::Role;

/// The public half of a signing key (Ed25519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id, as in the header of its tokens: the thumbprint of RFC 7638.
    pub kid: String,
    /// The key, in base64url without padding.
    pub x: String,
}

/// A token can't be signed.
#[derive(Debug, thiserror::Error)]
#[error("a token can't be signed: {0}")]
pub struct SignError(pub String);

/// Signs access tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A token that says, until `expires`, that its bearer is this account, in the session with this id.
    ///
    /// # Errors
    /// When it can't be signed.
    fn issue(
        &self,
        user: &UserName,
        role: Role,
        session: &str,
        issued: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Result<Secret, SignError>;

    /// The keys that verify tokens, the one in use first.
    fn keys(&self) -> Vec<PublicKey>;
}

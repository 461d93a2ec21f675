//! What is signed, and the keys that verify it.

use meshwork_api::UserName;
use meshwork_chassis::config::Secret;
use time::OffsetDateTime;

use crate::domain::{Role, Scope};

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

/// What an access token was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis<'a> {
    /// The session with this id.
    Session(&'a str),
    /// The API key with this id, which may be used for these scopes; for anything that keys may do when there is none.
    Key(&'a str, &'a [Scope]),
    /// Another issuer's token.
    Foreign,
}

/// Signs access tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A token that says, until `expires`, that its bearer is this account, and what it was given for.
    ///
    /// # Errors
    /// When it can't be signed.
    fn issue(
        &self,
        user: &UserName,
        role: Role,
        basis: Basis<'_>,
        issued: OffsetDateTime,
        expires: OffsetDateTime,
    ) -> Result<Secret, SignError>;

    /// The keys that verify tokens, the one in use first.
    fn keys(&self) -> Vec<PublicKey>;
}

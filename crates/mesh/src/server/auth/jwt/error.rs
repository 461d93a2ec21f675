//! Why a token isn't accepted.

use tonic::Status;

use crate::errors::port::{BAD_TOKEN, KEYS_UNAVAILABLE};
use crate::server::Domain;

/// Why a token was not accepted. No message holds anything of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token, was signed by somebody else, or is for somebody else.
    #[error("the token is malformed, or was not signed by the trusted issuer for this audience; sign in again")]
    Invalid,
    /// It is too old.
    #[error("the token has expired; refresh the session or sign in again")]
    Expired,
    /// Its time has not come: the clock of the issuer is ahead of ours.
    #[error("the token is not valid yet; see that the clocks of issuer and server agree")]
    NotYetValid,
    /// There are no keys yet.
    #[error("the keys that verify tokens can't be fetched at this moment; try again")]
    KeysUnavailable,
}

impl TokenError {
    /// The status that refuses a call: UNAUTHENTICATED with the reason `BAD_TOKEN`, or UNAVAILABLE with
    /// `KEYS_UNAVAILABLE`.
    pub fn status(self, domain: &Domain) -> Status {
        let kind = match self {
            Self::Invalid | Self::Expired | Self::NotYetValid => BAD_TOKEN,
            Self::KeysUnavailable => KEYS_UNAVAILABLE,
        };
        kind.status(domain, self, &[])
    }
}

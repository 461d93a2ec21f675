//! Why a token isn't accepted.

use std::time::Duration;

use tonic::{Code, Status};

use crate::server::Domain;

/// How long callers wait for keys before they try again.
const RETRY: Duration = Duration::from_secs(1);

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
        match self {
            Self::Invalid | Self::Expired | Self::NotYetValid => {
                domain.refuse(Code::Unauthenticated, "BAD_TOKEN", self.to_string(), &[])
            }
            Self::KeysUnavailable => {
                domain.refuse_for(RETRY, Code::Unavailable, "KEYS_UNAVAILABLE", self.to_string(), &[])
            }
        }
    }
}

//! Why there is no channel.

use crate::client::connect::TlsError;
use crate::client::resolve::TargetError;
use crate::policy::PolicyError;

/// A channel that can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The target is not one.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The target needs a resolver of one's own, and there is none.
    #[error("the target {0:?} needs a resolver: set one")]
    Resolver(String),
    /// The policy is not one.
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
    /// The descriptors can't be decoded.
    #[error("the descriptors: {0}")]
    Descriptors(#[from] prost::DecodeError),
    /// The certificates, keys or roots can't be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The authority is not one.
    #[error("the origin {0:?} must look like HOST or HOST:PORT")]
    Origin(String),
    /// The user agent can't be sent.
    #[error("the user agent {0:?} must be visible ASCII")]
    UserAgent(String),
}

/// A channel that did not get ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No endpoint could be reached.
    #[error("{0}")]
    Unavailable(String),
}

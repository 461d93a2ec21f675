//! Why a server can't be as it was asked to be.

use super::contracts::InvalidContracts;
use crate::tls::TlsError;

/// A server can't start, or can't offer the contracts that it is to offer from now on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// TLS can't be set up.
    #[error("TLS: {0}")]
    Tls(#[source] TlsError),
    /// The descriptors are no `FileDescriptorSet`.
    #[error("the descriptors can't be read, they must be an encoded FileDescriptorSet: {0}")]
    Descriptors(#[source] prost::DecodeError),
    /// Reflection can't be set up.
    #[error("the contracts can't be served by reflection: {0}")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Signals can't be listened for.
    #[error("SIGTERM and SIGINT can't be listened for: {0}")]
    Signals(#[source] std::io::Error),
    /// The [`Contracts`](super::Contracts) can't be offered beside what the server was built with.
    #[error("the contracts can't be offered: {0}")]
    Contracts(#[source] InvalidContracts),
    /// A method setting names a method that its service doesn't have.
    #[error("the method settings name {0}, which no service has")]
    UnknownMethod(String),
}

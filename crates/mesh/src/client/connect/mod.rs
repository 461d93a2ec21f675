//! Connectors: how an address becomes a byte stream.

mod memory;
mod sockets;
#[cfg(test)]
mod tests;
mod tls;

use std::io;

use async_trait::async_trait;
use http::uri::Authority;
pub use sockets::Sockets;
pub use tls::{Tls, TlsError, TlsOptions};

use crate::client::endpoint::Address;
pub use crate::memory::{Memory, MemoryListener, MemoryStream};
use crate::transport::Io;

/// Makes byte streams to addresses: TCP, TLS, Unix sockets, memory, or one's own.
///
/// Dropping the future gives the attempt up. The channel bounds the time (20 s unless said otherwise).
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects to `address`.
    ///
    /// # Errors
    /// Any failure; the channel tries again after its backoff.
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>>;

    /// Connects to `address` of a server that has a name of its own, other than that of the target
    /// ([`Endpoint::authority`](crate::client::endpoint::Endpoint::authority)). As [`Connector::connect`], unless
    /// implemented.
    ///
    /// # Errors
    /// As for [`Connector::connect`].
    async fn connect_as(&self, address: &Address, _authority: &Authority) -> io::Result<Box<dyn Io>> {
        self.connect(address).await
    }
}

//! Connections that speak HTTP/1, handed to who can serve them.

use std::fmt;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::server::peer::Peer;
use crate::transport::Io;

/// Serves HTTP/1 on the port of a gRPC server.
pub trait Http1: Send + Sync + 'static {
    /// Serves a connection to its end. What it holds of the server's bounds it gives back then; when a drain is over,
    /// the future is dropped.
    fn serve(&self, connection: Http1Connection) -> BoxFuture<'static, ()>;
}

/// A connection whose first bytes are the method of an HTTP/1 request.
#[non_exhaustive]
pub struct Http1Connection {
    /// Its bytes, from the first one on, below which TLS is set up if the server has it.
    pub io: Box<dyn Io>,
    /// Who is at the other end.
    pub peer: Peer,
    /// Cancelled when the server stops: a request that goes on may end, and no other may begin.
    pub stopping: CancellationToken,
}

impl fmt::Debug for Http1Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

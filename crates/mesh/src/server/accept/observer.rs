//! Who sees the connections.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::server::panics::run_hook;
use crate::server::peer::Peer;

/// Sees the connections of a server, in the tasks that accept and serve them: it must be quick and must not block. One that
/// panics ends no connection; the log says so.
pub trait ConnectionObserver: Send + Sync + 'static {
    /// A connection is open: TLS is set up, and its peer speaks a protocol that is served.
    fn opened(&self, peer: &Peer) {
        let _ = peer;
    }

    /// A connection that was opened has ended.
    fn closed(&self, peer: &Peer) {
        let _ = peer;
    }

    /// A connection was not opened. One whose peer went away before it had said anything is passed over.
    fn refused(&self, address: Option<SocketAddr>, why: RefusedConnection) {
        let _ = (address, why);
    }
}

/// Why a connection was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedConnection {
    /// There are as many connections as there may be.
    TooMany,
    /// Its network has as many connections as it may have.
    TooManyOfAddress,
    /// TLS could not be set up, or the peer is not allowed to connect.
    TlsFailed,
    /// TLS and the first bytes of a protocol took too long, or the header of the PROXY protocol did.
    TimedOut,
    /// It had said nothing yet, and gave way to another one.
    Evicted,
    /// Its first bytes are of no protocol that is served.
    NotHttp2,
    /// Its listener demands a header of the PROXY protocol, and it comes from nobody whose word counts.
    UntrustedProxy,
    /// Its listener demands a header of the PROXY protocol, and it has none, or one that is wrong or names no client.
    InvalidProxyHeader,
}

/// Tells `observer`, if there is one, of a connection that is not opened.
pub(super) fn show_refused(
    observer: Option<&Arc<dyn ConnectionObserver>>,
    address: Option<SocketAddr>,
    why: RefusedConnection,
) {
    if let Some(observer) = observer {
        run_hook("ConnectionObserver::refused", || observer.refused(address, why));
    }
}

/// A connection that its observer counts as open; dropped, it is closed.
pub(super) struct Observed {
    observer: Option<Arc<dyn ConnectionObserver>>,
    peer: Peer,
}

impl Observed {
    pub(super) fn new(observer: Option<Arc<dyn ConnectionObserver>>, peer: Peer) -> Self {
        if let Some(observer) = &observer {
            run_hook("ConnectionObserver::opened", || observer.opened(&peer));
        }
        Self { observer, peer }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            run_hook("ConnectionObserver::closed", || observer.closed(&self.peer));
        }
    }
}

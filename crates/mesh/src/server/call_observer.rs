//! The hook that sees every call of a server: those too that are refused.

use std::time::Duration;

use tonic::Code;

use super::Peer;

/// Sees the calls of a server. It is called on the path of each call: it must be quick and must not block.
pub trait CallObserver: Send + Sync + 'static {
    /// A call arrived, and nothing was done for it yet.
    fn began(&self, call: &IncomingCall<'_>) {
        let _ = call;
    }

    /// A call ended: its trailers are on their way, or its client let go of it.
    fn ended(&self, call: &IncomingCall<'_>, end: &CallEnd) {
        let _ = (call, end);
    }
}

/// A call that came to a server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IncomingCall<'a> {
    /// Its path, `/package.Service/Method`, whether there is such a method or not.
    pub path: &'a str,
    /// The other end of its connection.
    pub peer: Option<&'a Peer>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallEnd {
    /// Its status; CANCELLED when the client let go of it.
    pub code: Code,
    /// From its arrival to its end, streams included.
    pub took: Duration,
}

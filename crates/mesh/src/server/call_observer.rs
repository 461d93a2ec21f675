//! The hook that sees every call of a server: those too that are refused.

use std::time::Duration;

use tonic::Code;

use super::Peer;

/// Sees the calls of a server. It is called on the path of each call, and at the end of one while the connection is written to:
/// it must be quick, and must neither block nor wait for another call. One that panics fails no call; the log says so.
pub trait CallObserver: Send + Sync + 'static {
    /// A call arrived, and nothing was done for it yet.
    fn began(&self, call: &IncomingCall<'_>) {
        let _ = call;
    }

    /// A call ended: the last byte of its answer has passed the connection's writer, or its client let go of it.
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
    /// From its arrival to its end, streams included; what a slow reader takes counts as well.
    pub took: Duration,
}

//! The hooks that see every call of a server: those too that are refused.

use std::time::Duration;

use http::{Extensions, HeaderMap, Method, StatusCode};
use tonic::Code;

use super::Peer;
use super::auth::Principal;

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

    /// Asked behind [`began`](Self::began), by a [server](super::Server) and not by
    /// [`TelemetryLayer`](super::TelemetryLayer): who gets the record of the call when it has ended. `None`, which is the
    /// default: nobody, and nothing is counted for it.
    ///
    /// What it puts into the extensions comes with the request to layers and handlers. A call that an
    /// [`HttpService`](super::HttpService) makes has the extensions that its request was given there.
    fn record(&self, head: &mut CallHead<'_>) -> Option<Box<dyn CallRecorder>> {
        let _ = head;
        None
    }
}

/// Gets the record of one call, under the conditions of [`CallObserver`].
pub trait CallRecorder: Send + Sync + 'static {
    /// The call ended.
    fn ended(self: Box<Self>, record: &CallRecord<'_>);
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

/// The head of a call that came to a server.
#[derive(Debug)]
#[non_exhaustive]
pub struct CallHead<'a> {
    /// The method of HTTP: POST, or the call is refused.
    pub method: &'a Method,
    /// Its path, `/package.Service/Method`, whether there is such a method or not.
    pub path: &'a str,
    /// Whether the server knows the method: its descriptors, its tables or its settings name it, or it is the server's own. There is
    /// no end of other paths that callers may choose.
    pub known: bool,
    /// Its headers, which nobody has looked at yet.
    pub headers: &'a HeaderMap,
    /// The other end of its connection; of a call that a [trusted proxy](super::Builder::trusted_proxies) passes on, that
    /// [proxy](Peer::is_proxy) at the address of its client.
    pub peer: &'a Peer,
    /// The extensions of its request.
    pub extensions: &'a mut Extensions,
}

/// What is known of a call when it has ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallRecord<'a> {
    /// Its path.
    pub path: &'a str,
    /// Who called, if that was found out.
    pub principal: Option<&'a Principal>,
    /// Its status; CANCELLED when the client let go of it.
    pub code: Code,
    /// The status of HTTP that its answer began with: 200 for what is gRPC. `None` when no answer has begun.
    pub http_status: Option<StatusCode>,
    /// From its arrival to its end.
    pub took: Duration,
    /// The bytes of its request that were read, with the prefixes of the messages and without headers.
    pub received: u64,
    /// The bytes of its answer that went to the connection, counted alike.
    pub sent: u64,
    /// The bytes of the messages in [`received`](Self::received), compressed if they were: without the prefixes.
    pub received_payload: u64,
    /// The bytes of the messages in [`sent`](Self::sent), counted alike.
    pub sent_payload: u64,
}

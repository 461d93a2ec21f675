//! The server's side of HTTP/2: the calls of one connection, and their answers to the last byte.

mod backlog;
mod call;
mod connection;
mod deliver;
mod gate;
mod linger;
mod options;
mod payload;
mod request;
mod settings;
mod stuck;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

pub(crate) use backlog::CountUnwritten;
pub(crate) use connection::ServerConnection;
pub(crate) use linger::LingeringWire;
pub(crate) use options::ServeOptions;
pub(crate) use request::RequestBody;

/// What answers the calls of one connection. Owned by the connection's task; need not be `Sync`.
pub(crate) trait Serve: Send + 'static {
    /// What an answer sends.
    type Body: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static;
    /// What is held to the last byte of an answer.
    type Guard: CallGuard;

    /// Answers a call. The future is polled once in the connection's task, with a waker that wakes nobody, and goes on in a
    /// task of its own if it has to wait; it is dropped when the client cancels the call or the connection ends.
    fn call(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = (Response<Self::Body>, Arc<Self::Guard>)> + Send + 'static + use<Self>;

    /// Who counts the bytes of answers that the connection has and that its client has not read; `None`: nobody.
    fn count_unwritten(&self) -> Option<CountUnwritten> {
        None
    }
}

/// Held to the last byte of an answer: dropped when the last byte of data has passed the connection's writer, or the stream
/// is over otherwise. An answer without data lets it go with its head.
///
/// It may be dropped while `h2` holds the locks of the connection: its destructor must not panic, and must not reach
/// anything of a stream, a [`RequestBody`] least of all.
pub(crate) trait CallGuard: Send + Sync + 'static {
    /// So many bytes of the answer now wait for the client to read (absolute, 0: none).
    ///
    /// # Errors
    /// The trailers that end the answer, when so many may not wait.
    fn unread(&self, bytes: usize) -> Result<(), HeaderMap>;

    /// How long the client may take to make room for a byte.
    fn stall_limit(&self) -> Duration;

    /// The trailers that end an answer that stalled.
    fn stalled(&self) -> HeaderMap;

    /// The trailers that end an answer at once, stalled or not; asked while the client makes no room.
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<HeaderMap> {
        let _ = cx;
        Poll::Pending
    }

    /// Whether the answer has ended before its time, by trailers that its client would not understand: its stream is reset in
    /// their place.
    fn is_cut_off(&self) -> bool {
        false
    }
}

//! The seam for what is no gRPC.

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;

use super::calls::Calls;

/// Answers what comes to a server's port and is no gRPC: the requests of HTTP/1.1, and those of HTTP/2 whose content
/// type isn't `application/grpc` or one of its subtypes (`application/grpc-web` is none of them). See
/// [`Builder::http`](crate::server::Builder::http).
///
/// A request carries its [`Peer`](crate::server::Peer) as an extension. Its body has to begin within the server's
/// [`first_message_timeout`](crate::server::Builder::first_message_timeout) and then to go on within its
/// [`slow_reader`](crate::server::Builder::slow_reader), until it is answered: the body ends with an error else, a
/// [`Status`](tonic::Status) of the code that fits. How large a body may be in all is the service's to bound: what it
/// doesn't read stays with its client.
///
/// An answer whose body ends with an error, or panics, is cut off: by a reset of its stream over HTTP/2, by the end of
/// the connection over HTTP/1.1. Its client can't take it for whole.
pub trait HttpService: Send + Sync + 'static {
    /// Answers `request`, by `calls` where that takes calls of gRPC. The future is dropped when the client gives up;
    /// one that panics is answered with 500, and the log says so.
    fn call(&self, request: Request<Body>, calls: Calls) -> BoxFuture<'static, Response<Body>>;
}

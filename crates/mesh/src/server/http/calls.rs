//! The calls of gRPC that are made for a request that is none.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::TE;
use http::{HeaderValue, Request, Response, Version};
use tonic::body::Body;
use tower_service::Service;

use crate::server::auth::Principal;
use crate::server::peer::Peer;

/// Makes calls of the peer of one connection.
pub(in crate::server) trait PeerCalls: Send + Sync + 'static {
    /// Whose calls they are.
    fn peer(&self) -> &Peer;

    /// Answers a call as one that came over the connection.
    fn call(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Infallible>>;
}

/// The server's own pipeline for one request of HTTP: a call of gRPC that is made here goes the way of one that came as
/// gRPC (telemetry, panic guard, deadline, limit by address, identity, access, limit by principal, budgets, handler),
/// as a call of the same peer. A request is gRPC's: POST, a path of `/package.Service/Method`, `content-type:
/// application/grpc`, messages with their prefixes; and so is the answer, whose status may be in its head. What is none
/// gets an answer of HTTP, 405 or 415, and never comes to the [`HttpService`](super::HttpService) again.
///
/// The place of the last call that was answered is held until the last byte of the answer of HTTP was written, as with
/// gRPC. Cheap to clone, and always ready.
#[derive(Clone)]
pub struct Calls(Arc<dyn PeerCalls>);

impl Calls {
    pub(in crate::server) fn new(calls: impl PeerCalls) -> Self {
        Self(Arc::new(calls))
    }

    /// Who has sent the request; or a [proxy](Peer::is_proxy) that is trusted, at the address of who has sent it.
    pub fn peer(&self) -> &Peer {
        self.0.peer()
    }
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        // Who calls is found out by the pipeline alone.
        request.extensions_mut().remove::<Principal>();
        self.0.call(request)
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("peer", self.peer()).finish_non_exhaustive()
    }
}

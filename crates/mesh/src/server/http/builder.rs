//! The setting that opens a server's port to what is no gRPC.

use std::sync::Arc;

use super::service::HttpService;
use crate::server::builder::Builder;

impl<L> Builder<L> {
    /// Answers what is no gRPC by `service`: HTTP/1.1, which is served then, and the requests of HTTP/2 that would be
    /// answered with 415 or 405 else. With a taker of [`http1`](Builder::http1) the connections of HTTP/1.1 are still
    /// the taker's.
    ///
    /// Of HTTP/1.1: a head has the time of [`handshake_timeout`](Builder::handshake_timeout) from its first byte on,
    /// and as many bytes as [`max_header_list_size`](Builder::max_header_list_size) says, in at most 100 fields (431
    /// else); a connection without a request is closed after [`max_connection_idle`](Builder::max_connection_idle), and
    /// one whose client takes no byte for as long as [`slow_reader`](Builder::slow_reader) says is cut; its age is
    /// bounded as that of others; when the server stops, a request that goes on is answered, with `connection: close`.
    /// There are no upgrades. What says no host, or more than one, is answered with 400 (RFC 9112, section 3.2), as is a
    /// target that says a user; another transfer coding than `chunked` with 501; and the connection is closed then.
    ///
    /// ```
    /// use futures_util::future::BoxFuture;
    /// use http::{Request, Response};
    /// use meshwork::Server;
    /// use meshwork::server::{Calls, HttpService};
    /// use tonic::body::Body;
    /// use tower_service::Service as _;
    ///
    /// /// `POST` of a framed message to `/http/package.Service/Method`.
    /// struct Raw;
    ///
    /// impl HttpService for Raw {
    ///     fn call(&self, request: Request<Body>, mut calls: Calls) -> BoxFuture<'static, Response<Body>> {
    ///         let call = request.uri().path().strip_prefix("/http").map(|path| Request::post(path));
    ///         let call = call.map(|call| call.header("content-type", "application/grpc"));
    ///         Box::pin(async move {
    ///             let Some(Ok(call)) = call.map(|call| call.body(request.into_body())) else {
    ///                 let mut unknown = Response::new(Body::empty());
    ///                 *unknown.status_mut() = http::StatusCode::NOT_FOUND;
    ///                 return unknown;
    ///             };
    ///             match calls.call(call).await {
    ///                 Ok(answer) => answer,
    ///                 Err(never) => match never {},
    ///             }
    ///         })
    ///     }
    /// }
    ///
    /// let server = Server::builder().http(Raw);
    /// ```
    pub fn http(mut self, service: impl HttpService) -> Self {
        self.settings.http = Some(Arc::new(service));
        self
    }
}

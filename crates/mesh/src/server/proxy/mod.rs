//! Passes calls on to other servers, undecoded: what a gateway is made of.
//!
//! ```no_run
//! use http::request::Parts;
//! use meshwork::server::proxy::{Proxy, Route, Routes, Upstream};
//! use meshwork::{Channel, Server};
//! use tonic::Status;
//!
//! struct ToUsers(Upstream);
//!
//! impl Routes for ToUsers {
//!     fn has(&self, path: &str) -> bool {
//!         path.starts_with("/shop.users.v1.")
//!     }
//!
//!     fn route(&self, head: &mut Parts) -> Result<Route, Status> {
//!         let users = || Route::to(self.0.clone());
//!         self.has(head.uri.path()).then(users).ok_or_else(|| Status::unimplemented("there is no such method"))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = Proxy::new(ToUsers(Upstream::new("users", Channel::connect_lazy("dns:///users:50051")?)));
//! let server = Server::builder().fallback(proxy.clone(), move |path| proxy.has(path));
//! # let _ = server; Ok(()) }
//! ```
//!
//! | of a call | passes |
//! |---|---|
//! | messages | as they are, in both directions, as fast as the slower side takes them |
//! | metadata, trailers, status with its details | as they are, without what belongs to a connection (RFC 9110, section 7.6.1) |
//! | credentials | as they are, or those that are [forwarded](crate::server::auth::Principal::with_forwarded_credentials) for the caller |
//! | address of the caller | in [`CLIENT_ADDRESS`](crate::server::CLIENT_ADDRESS), in place of what the caller sent there |
//! | deadline | what is left of it: the channel sends it as `grpc-timeout` |
//! | cancellation | a caller that lets go ends the call to the upstream |
//!
//! The channel to an upstream may repeat a call, as its policy and its descriptors say. A proxy gives no request an id:
//! what has side effects is repeated by descriptors only where the caller gave its request one, in a message that is
//! not compressed and was read to its end.
//!
//! A call ends with a gRPC status whatever happens on the way: one that the upstream sent, one that [`Routes::failed`]
//! gives for a failure of the mesh, or the one that the caller's own request failed with.

mod answer;
mod failures;
mod headers;
mod passage;
mod request;
mod routes;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use tonic::body::Body;
use tower_service::Service;

use self::answer::AnswerBody;
use self::passage::{Passage, ProxyState};
use self::request::RequestBody;
pub use self::routes::{Route, Routes, Upstream};
use crate::client::retry::RequestIds;
use crate::outcome::grpc_status;
use crate::server::auth::Principal;
use crate::server::client_address::name_client;

/// Passes calls on by its [`Routes`]: a service for [`Builder::fallback`](crate::server::Builder::fallback). Clones
/// share them.
pub struct Proxy<R>(Arc<ProxyState<R>>);

impl<R: Routes> Proxy<R> {
    /// Passes calls on by `routes`.
    pub fn new(routes: R) -> Self {
        Self(Arc::new(ProxyState::new(routes)))
    }

    /// Whether the method at `path`, `/package.Service/Method`, has a route.
    pub fn has(&self, path: &str) -> bool {
        self.0.routes.has(path)
    }
}

impl<R: Routes> Service<Request<Body>> for Proxy<R> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    /// Always ready, as channels are.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = Arc::clone(&self.0);
        Box::pin(async move { Ok(pass(state, request).await) })
    }
}

async fn pass<R: Routes>(state: Arc<ProxyState<R>>, request: Request<Body>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    // First, so that a caller can't name what the routes add.
    headers::of_request(&mut head.headers);
    name_client(&head.extensions, &mut head.headers);
    if let Some(credentials) = head.extensions.get().and_then(Principal::forwarded_credentials) {
        head.headers.insert(AUTHORIZATION, credentials.clone());
    }
    let Route { upstream } = match state.routes.route(&mut head) {
        Ok(route) => route,
        Err(status) => return status.into_http(),
    };
    // Its caller alone knows what is the same call again.
    head.extensions.insert(RequestIds::Require);
    let (body, failure) = RequestBody::new(body);
    let mut channel = upstream.channel().clone();
    let passage = Passage::new(state, upstream, failure);
    match channel.call(Request::from_parts(head, Body::new(body))).await {
        Ok(mut response) => {
            headers::of_answer(response.headers_mut());
            // Trailers-Only: it has ended, and nothing that may follow would be read.
            let ended = grpc_status(response.headers()).is_some();
            response.map(|body| if ended { Body::empty() } else { Body::new(AnswerBody::new(body, passage)) })
        }
        Err(error) => passage.failed(&error).into_http(),
    }
}

impl<R> Clone for Proxy<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for Proxy<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

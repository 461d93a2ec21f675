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
//! | credentials | as they are, or those that are [forwarded](crate::server::auth::Principal::with_forwarded_credentials) for the caller in place of its `authorization` and `x-api-key` |
//! | address of the caller | in [`CLIENT_ADDRESS`](crate::server::CLIENT_ADDRESS), in place of what the caller sent there |
//! | deadline | what is left of it: the channel sends it as `grpc-timeout` |
//! | cancellation | a caller that lets go ends the call to the upstream |
//! | a copy for a [`Mirror`] | head and messages, without the caller's credentials and with [`MIRRORED`]; its answer is dropped |
//!
//! The channel to an upstream may repeat a call, as its policy and its descriptors say. A proxy gives no request an id:
//! what has side effects is repeated by descriptors only where the caller gave its request one, in a message that is
//! not compressed and was read to its end.
//!
//! What a mirror does changes nothing of the call that it gets a copy of: nobody waits for it, no copy is made or sent a
//! second time, and what would be beyond the [`MirrorLimits`] is not mirrored. A copy ends with its call's deadline or
//! after 10 s where there is none, 10 s after its call has ended, and at once when its caller lets go of that or it is
//! answered before its request has ended. The answer is read, and dropped, as far as the limits say, so that the mirror
//! does its work.
//!
//! A call ends with a gRPC status whatever happens on the way: one that the upstream sent, one that [`Routes::failed`]
//! gives for a failure of the mesh, or the one that the caller's own request failed with.

mod answer;
mod failures;
mod headers;
mod mirror;
mod passage;
mod request;
mod routes;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower_service::Service;

use self::answer::AnswerBody;
use self::mirror::Mirrors;
pub use self::mirror::{MIRRORED, MirrorCounts, MirrorLimits};
use self::passage::{Passage, ProxyState};
use self::request::RequestBody;
pub use self::routes::{Mirror, Route, Routes, Upstream};
use crate::client::retry::RequestIds;
use crate::outcome::grpc_status;
use crate::server::auth::Principal;
use crate::server::client_address::name_client;

/// Passes calls on by its [`Routes`]: a service for [`Builder::fallback`](crate::server::Builder::fallback). Clones
/// share them.
pub struct Proxy<R> {
    state: Arc<ProxyState<R>>,
    mirrors: Arc<Mirrors>,
}

impl<R: Routes> Proxy<R> {
    /// Passes calls on by `routes`.
    pub fn new(routes: R) -> Self {
        Self { state: Arc::new(ProxyState::new(routes)), mirrors: Arc::new(Mirrors::new(MirrorLimits::default())) }
    }

    /// What copies for mirrors may take, of this proxy and the clones that are made of it from now on.
    #[must_use]
    pub fn mirror_limits(self, limits: MirrorLimits) -> Self {
        Self { mirrors: Arc::new(Mirrors::new(limits)), ..self }
    }

    /// What has become of the copies for mirrors, and what they take now.
    pub fn mirror_counts(&self) -> MirrorCounts {
        self.mirrors.counts()
    }

    /// Whether the method at `path`, `/package.Service/Method`, has a route.
    pub fn has(&self, path: &str) -> bool {
        self.state.routes.has(path)
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
        let proxy = self.clone();
        Box::pin(async move { Ok(pass(proxy, request).await) })
    }
}

async fn pass<R: Routes>(Proxy { state, mirrors }: Proxy<R>, request: Request<Body>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    // First, so that a caller can't name what the routes add.
    headers::of_request(&mut head.headers);
    name_client(&head.extensions, &mut head.headers);
    if let Some(credentials) = head.extensions.get().and_then(Principal::forwarded_credentials) {
        headers::replace_credentials(&mut head.headers, credentials.clone());
    }
    // A copy of a copy could go round for ever.
    let is_copy = head.headers.remove(&MIRRORED).is_some();
    let route = match state.routes.route(&mut head) {
        Ok(route) => route,
        Err(status) => return status.into_http(),
    };
    let to: &[Mirror] = if is_copy { &[] } else { &route.mirrors };
    let (copies, mirrored) = mirrors.begin(to, &head);
    // Its caller alone knows what is the same call again.
    head.extensions.insert(RequestIds::Require);
    let (body, failure) = RequestBody::new(body, copies);
    let mut channel = route.upstream.channel().clone();
    let mut passage = Passage::new(state, route.upstream, failure, mirrored);
    match channel.call(Request::from_parts(head, Body::new(body))).await {
        Ok(mut response) => {
            headers::of_answer(response.headers_mut());
            // Trailers-Only: it has ended, and nothing that may follow would be read.
            let ended = grpc_status(response.headers()).is_some();
            if ended {
                passage.ended();
            }
            response.map(|body| if ended { Body::empty() } else { Body::new(AnswerBody::new(body, passage)) })
        }
        Err(error) => {
            passage.ended();
            passage.failed(&error).into_http()
        }
    }
}

impl<R> Clone for Proxy<R> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), mirrors: Arc::clone(&self.mirrors) }
    }
}

impl<R> fmt::Debug for Proxy<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

//! The layers that limit how many calls a client makes.
//!
//! [`ClientLimit`] stands behind authorisation and counts each call for the account that makes it or, without one, for
//! the address that it comes from. [`RefusalLimit`] stands in front and counts the calls that authorisation has refused,
//! for their address, in the same bucket: trying tokens costs as much as calling without one. A good token is never
//! refused for what others at its address do: many share one behind a NAT or a load balancer.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use meshwork_chassis::Principal;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};

use super::errors::rate_limited;
use super::proxy::is_own;
use crate::app::App;

/// Marks the answer to a call that has been counted.
#[derive(Clone, Copy)]
struct Counted;

/// The address of the call's connection; never what a header says.
fn address(request: &Request<Body>) -> IpAddr {
    let info = request.extensions().get::<TcpConnectInfo>();
    let address = info.and_then(TcpConnectInfo::remote_addr).map(|address| address.ip());
    address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Counts calls that authorisation refuses, for the address that they come from.
#[derive(Clone)]
pub struct RefusalLimit(App);

impl RefusalLimit {
    /// Counts by the use cases.
    pub fn new(app: App) -> Self {
        Self(app)
    }
}

impl<S> Layer<S> for RefusalLimit {
    type Service = LimitRefusals<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitRefusals { inner, app: self.0.clone() }
    }
}

/// The service that [`RefusalLimit`] makes.
#[derive(Clone)]
pub struct LimitRefusals<S> {
    inner: S,
    app: App,
}

impl<S> Service<Request<Body>> for LimitRefusals<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_own(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let address = address(&request);
        let app = self.app.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.extensions().get::<Counted>().is_some() {
                return Ok(answer);
            }
            Ok(match app.count_refusal(address) {
                Ok(()) => answer,
                Err(too_many) => rate_limited(&too_many).into_http(),
            })
        })
    }
}

/// Counts calls that authorisation has admitted, for the account or the address that makes them, and refuses those that
/// are too many.
#[derive(Clone)]
pub struct ClientLimit(App);

impl ClientLimit {
    /// Counts by the use cases.
    pub fn new(app: App) -> Self {
        Self(app)
    }
}

impl<S> Layer<S> for ClientLimit {
    type Service = LimitClients<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitClients { inner, app: self.0.clone() }
    }
}

/// The service that [`ClientLimit`] makes.
#[derive(Clone)]
pub struct LimitClients<S> {
    inner: S,
    app: App,
}

impl<S> Service<Request<Body>> for LimitClients<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_own(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let account = request.extensions().get::<Principal>().and_then(Principal::user).cloned();
        let answer = match self.app.admit_call(account, address(&request)) {
            Ok(()) => Ok(self.inner.call(request)),
            Err(too_many) => Err(rate_limited(&too_many).into_http()),
        };
        Box::pin(async move {
            let mut answer: Response<Body> = match answer {
                Ok(answer) => answer.await?,
                Err(refusal) => refusal,
            };
            answer.extensions_mut().insert(Counted);
            Ok(answer)
        })
    }
}

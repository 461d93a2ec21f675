//! S1: a call clones its service and its user's layers once, whatever else the server has around them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::rate::{Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{Domain, Router};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use crate::plans::{UNDESCRIBED, Undescribed};
use crate::support::{Running, unary};

/// Counts its clones.
struct Counted<S> {
    inner: S,
    clones: Arc<AtomicUsize>,
}

impl<S: Clone> Clone for Counted<S> {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { inner: self.inner.clone(), clones: Arc::clone(&self.clones) }
    }
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Counted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn s1_a_call_clones_its_service_once_and_the_layers_around_it_once() {
    const CALLS: usize = 10;
    let (of_service, of_layer) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let service = Counted { inner: Undescribed::default(), clones: Arc::clone(&of_service) };
    let clones = Arc::clone(&of_layer);
    let layer = tower::layer::layer_fn(move |inner: Router| Counted { inner, clones: Arc::clone(&clones) });
    let rule = Rule::new("calls", Rate::per_second(1000, 1000.0).unwrap());
    let limit = RateLimitLayer::new(RateLimiter::in_process(), [rule], Domain::default());
    let builder = Server::builder()
        .access(AccessTable::new().method(UNDESCRIBED, Access::Public))
        .limit_by_address(limit.clone().counting_refusals())
        .limit_by_principal(limit)
        .add_service(service)
        .layer(layer);
    let server = Running::start_layered(builder);
    let channel = server.channel();
    let clones = || (of_service.load(Ordering::SeqCst), of_layer.load(Ordering::SeqCst));
    // The first call has the connection made.
    assert_eq!(unary(&channel, UNDESCRIBED, "x").await.unwrap(), "x");
    let before = clones();
    for _ in 0..CALLS {
        assert_eq!(unary(&channel, UNDESCRIBED, "x").await.unwrap(), "x");
    }
    assert_eq!(clones(), (before.0 + CALLS, before.1 + CALLS));
}

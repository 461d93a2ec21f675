//! The deadline of a call, on the server: it ends the work, in the middle of a stream too.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use crate::deadline::{DeadlineBody, DeadlineFuture, ExpiryStatus as _, ScopedBody, ScopedFuture, of_incoming};
use crate::server::Domain;
use crate::server::expiry::invalid_timeout;

/// Ends calls at their deadline with DEADLINE_EXCEEDED, before the answer or in the middle of its stream; the handler's work
/// is cancelled. Meanwhile [`crate::deadline::current`] tells handler and stream the deadline, and calls that they make
/// through a [`Channel`](crate::Channel) end by it.
///
/// The deadline is what `grpc-timeout` says, or the layer's own bound when that is earlier. A malformed `grpc-timeout` is
/// answered with INTERNAL. tonic's own server timeout knows no streams, and answers CANCELLED.
#[derive(Clone, Debug, Default)]
pub struct ServerDeadlineLayer {
    max: Option<Duration>,
    domain: Domain,
}

impl ServerDeadlineLayer {
    /// Calls take at most `max`, if there is one, streams among them; errors carry `domain`.
    pub fn new(max: Option<Duration>, domain: Domain) -> Self {
        Self { max, domain }
    }
}

impl<S> Layer<S> for ServerDeadlineLayer {
    type Service = ServerDeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerDeadlineService { inner, layer: self.clone() }
    }
}

/// The service of [`ServerDeadlineLayer`].
#[derive(Clone, Debug)]
pub struct ServerDeadlineService<S> {
    inner: S,
    layer: ServerDeadlineLayer,
}

impl<S, A, B> Service<Request<A>> for ServerDeadlineService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Response = Response<ServerDeadlineBody<B>>;
    type Error = S::Error;
    type Future = ServerDeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let domain = self.layer.domain;
        let now = Instant::now();
        let deadline = match of_incoming(request.headers(), self.layer.max, now) {
            Ok(deadline) => deadline,
            Err(error) => return DeadlineFuture::refused(invalid_timeout(domain, &error)),
        };
        if deadline.is_some_and(|at| at <= now) {
            return DeadlineFuture::refused(domain.status("before it began"));
        }
        let future = ScopedFuture::new(deadline, || self.inner.call(request));
        DeadlineFuture::new(future, deadline, domain)
    }
}

/// The future of [`ServerDeadlineService`]. It takes a timer when it first has to wait.
pub type ServerDeadlineFuture<F> = DeadlineFuture<ScopedFuture<F>, Domain>;

/// A response body that ends at a deadline with DEADLINE_EXCEEDED in its trailers.
pub type ServerDeadlineBody<B> = DeadlineBody<ScopedBody<B>, Domain>;

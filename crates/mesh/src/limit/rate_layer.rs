//! A rate limit as a tower layer over any gRPC service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::rate::RateLimit;
use crate::bodies::{TrackedBody, Untracked};
use crate::deadline;

/// Has calls wait for their turn, up to the deadline that their `grpc-timeout` says or that the task has; calls that could
/// not go in time are answered with RESOURCE_EXHAUSTED at once.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    limit: Arc<RateLimit>,
}

impl RateLimitLayer {
    /// Holds calls to `limit`, all services of this layer together.
    pub fn new(limit: impl Into<Arc<RateLimit>>) -> Self {
        Self { limit: limit.into() }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { inner, limit: Arc::clone(&self.limit) }
    }
}

/// The service of [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimitService<S> {
    inner: S,
    limit: Arc<RateLimit>,
}

impl<S, A, B> Service<Request<A>> for RateLimitService<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    B: Body<Data = Bytes>,
{
    type Response = Response<TrackedBody<B, Untracked>>;
    type Error = S::Error;
    type Future = RateFuture<S, A, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if self.limit.try_acquire() {
            return RateFuture::of(State::Calling { future: self.inner.call(request) });
        }
        let deadline = match deadline::effective(request.headers(), None, Instant::now()) {
            Ok(deadline) => deadline,
            Err(status) => return RateFuture::of(State::Refused { status: Some(status) }),
        };
        // The one that is ready makes the call, when it may; what stays is a fresh clone.
        let fresh = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, fresh);
        let limit = Arc::clone(&self.limit);
        let turn: Turn = Box::pin(async move { limit.acquire(deadline).await });
        RateFuture::of(State::Waiting { turn, call: Some((ready, request)) })
    }
}

type Turn = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

pin_project! {
    /// The future of [`RateLimitService`].
    pub struct RateFuture<S, A, F> {
        #[pin]
        state: State<S, A, F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, A, F> {
        Waiting { turn: Turn, call: Option<(S, Request<A>)> },
        Calling { #[pin] future: F },
        Refused { status: Option<Status> },
    }
}

impl<S, A, F> RateFuture<S, A, F> {
    fn of(state: State<S, A, F>) -> Self {
        Self { state }
    }
}

impl<S, A, B> Future for RateFuture<S, A, S::Future>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<TrackedBody<B, Untracked>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Waiting { turn, call } => match ready!(turn.as_mut().poll(cx)) {
                    Ok(()) => match call.take() {
                        Some((mut ready, request)) => State::Calling { future: ready.call(request) },
                        None => State::Refused { status: None },
                    },
                    Err(status) => State::Refused { status: Some(status) },
                },
                StateProjection::Calling { future } => {
                    let result = ready!(future.poll(cx));
                    return Poll::Ready(result.map(|response| response.map(TrackedBody::untracked)));
                }
                StateProjection::Refused { status } => {
                    let status = status.take().unwrap_or_else(|| Status::internal("polled after its end"));
                    return Poll::Ready(Ok(status.into_http()));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, A, F> fmt::Debug for RateFuture<S, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateFuture")
    }
}

//! A limit of calls in flight as a tower layer over any gRPC service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::concurrency::{ConcurrencyLimit, Permit};
use crate::bodies::TrackedBody;

/// Answers calls above the limit with UNAVAILABLE. A call counts until the end of its response body.
///
/// Services of one layer, and others with a limit of the same target and name, share the count.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitLayer {
    limit: ConcurrencyLimit,
}

impl ConcurrencyLimitLayer {
    /// Holds calls to `limit`.
    pub fn new(limit: ConcurrencyLimit) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyLimitService { inner, limit: self.limit.clone() }
    }
}

/// The service of [`ConcurrencyLimitLayer`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLimitService<S> {
    inner: S,
    limit: ConcurrencyLimit,
}

impl<S, A, B> Service<Request<A>> for ConcurrencyLimitService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<TrackedBody<B, Permit>>;
    type Error = S::Error;
    type Future = ConcurrencyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let limit = self.limit.limit();
        match self.limit.try_acquire() {
            Some(permit) => ConcurrencyFuture { future: Some(self.inner.call(request)), permit: Some(permit), limit },
            None => ConcurrencyFuture { future: None, permit: None, limit },
        }
    }
}

pin_project! {
    /// The future of [`ConcurrencyLimitService`].
    #[derive(Debug)]
    pub struct ConcurrencyFuture<F> {
        // None: rejected.
        #[pin]
        future: Option<F>,
        permit: Option<Permit>,
        limit: usize,
    }
}

impl<F, B, E> Future for ConcurrencyFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<TrackedBody<B, Permit>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            let message = format!("there are {} calls in flight, as many as the limit allows", this.limit);
            return Poll::Ready(Ok(Status::unavailable(message).into_http()));
        };
        let result = ready!(future.poll(cx));
        let permit = this.permit.take();
        Poll::Ready(result.map(|response| match permit {
            Some(permit) => TrackedBody::respond(response, permit),
            None => response.map(TrackedBody::untracked),
        }))
    }
}

//! The server's half: the deadline of an incoming call is known wherever its handler makes calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::{GRPC_TIMEOUT, parse_timeout, sync_scope};

/// Tells a handler, and the stream that it answers with, the deadline of its call: [`current`](super::current) gives it, and
/// outgoing calls end by it. It ends nothing itself. A malformed `grpc-timeout` is answered with INTERNAL.
#[derive(Clone, Copy, Debug, Default)]
pub struct IncomingDeadlineLayer;

impl<S> Layer<S> for IncomingDeadlineLayer {
    type Service = IncomingDeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IncomingDeadlineService { inner }
    }
}

/// The service of [`IncomingDeadlineLayer`].
#[derive(Clone, Debug)]
pub struct IncomingDeadlineService<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for IncomingDeadlineService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<ScopedBody<B>>;
    type Error = S::Error;
    type Future = IncomingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let timeout = match request.headers().get(GRPC_TIMEOUT).map(parse_timeout).transpose() {
            Ok(timeout) => timeout,
            Err(error) => return IncomingFuture { future: None, at: None, refused: Some(error.to_string()) },
        };
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let future = within(at, || self.inner.call(request));
        IncomingFuture { future: Some(future), at, refused: None }
    }
}

/// Runs `run` as part of a call whose deadline is `at`.
pub(crate) fn within<R>(at: Option<Instant>, run: impl FnOnce() -> R) -> R {
    match at {
        Some(at) => sync_scope(at, run),
        None => run(),
    }
}

pin_project! {
    /// The future of [`IncomingDeadlineService`].
    #[derive(Debug)]
    pub struct IncomingFuture<F> {
        #[pin]
        future: Option<F>,
        at: Option<Instant>,
        refused: Option<String>,
    }
}

impl<F, B, E> Future for IncomingFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ScopedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let at = *this.at;
        let Some(future) = this.future.as_pin_mut() else {
            let message = this.refused.take().unwrap_or_default();
            return Poll::Ready(Ok(Status::internal(message).into_http()));
        };
        let result = ready!(within(at, || future.poll(cx)));
        Poll::Ready(result.map(|response| response.map(|inner| ScopedBody { inner: Some(inner), at })))
    }
}

pin_project! {
    /// The body of a response, made with the deadline of its call.
    #[derive(Debug)]
    pub struct ScopedBody<B> {
        #[pin]
        inner: Option<B>,
        at: Option<Instant>,
    }
}

impl<B> Default for ScopedBody<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, at: None }
    }
}

impl<B: Body<Data = Bytes>> Body for ScopedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        within(*this.at, || inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

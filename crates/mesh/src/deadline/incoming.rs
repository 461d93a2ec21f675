//! The server's half: the deadline of an incoming call is known wherever its handler makes calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::effective::of_incoming;
use super::scope::{ScopedBody, ScopedFuture};

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
        match of_incoming(request.headers(), None, Instant::now()) {
            Ok(at) => {
                IncomingFuture { future: Some(ScopedFuture::new(at, || self.inner.call(request))), refused: None }
            }
            Err(error) => IncomingFuture { future: None, refused: Some(Status::internal(error.to_string())) },
        }
    }
}

pin_project! {
    /// The future of [`IncomingDeadlineService`].
    #[derive(Debug)]
    pub struct IncomingFuture<F> {
        // None: refused.
        #[pin]
        future: Option<ScopedFuture<F>>,
        refused: Option<Status>,
    }
}

impl<F, B, E> Future for IncomingFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ScopedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            let status = this.refused.take().unwrap_or_else(|| Status::internal("polled after its end"));
            return Poll::Ready(Ok(status.into_http()));
        };
        future.poll(cx)
    }
}

//! The layer that holds statuses to a size.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::server::status_size::bound_status;

/// Holds the status of every answer to a size that every client takes: `grpc-message` to 2 KiB, where it is cut, and
/// `grpc-status-details-bin` to 6 KiB, of which the first details that fit are kept. Headers of a status that are larger
/// than a client reads would fail its call in another way, or its connection with all calls on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatusSizeLayer(());

impl StatusSizeLayer {
    /// The layer.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for StatusSizeLayer {
    type Service = StatusSizeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StatusSizeService { inner }
    }
}

/// The service of [`StatusSizeLayer`].
#[derive(Clone, Debug)]
pub struct StatusSizeService<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for StatusSizeService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<StatusSizeBody<B>>;
    type Error = S::Error;
    type Future = StatusSizeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        StatusSizeFuture { future: self.inner.call(request) }
    }
}

pin_project! {
    /// The future of [`StatusSizeService`].
    #[derive(Debug)]
    pub struct StatusSizeFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, B, E> Future for StatusSizeFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<StatusSizeBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().future.poll(cx)).map(|mut response| {
            bound_status(response.headers_mut());
            response.map(|inner| StatusSizeBody { inner })
        }))
    }
}

pin_project! {
    /// A response body whose trailers hold a status that every client takes.
    #[derive(Debug, Default)]
    pub struct StatusSizeBody<B> {
        #[pin]
        inner: B,
    }
}

impl<B: Body<Data = Bytes>> Body for StatusSizeBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().inner.poll_frame(cx).map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                bound_status(trailers);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

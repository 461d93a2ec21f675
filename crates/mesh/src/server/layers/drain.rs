//! The layer that ends the streams of a server that stops.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use crate::server::Domain;
use crate::server::body::{EarlyBody, EarlyEnd};
use crate::server::plan::StreamingMethods;
use crate::server::stream_end::StreamEnd;

/// Ends server streams with UNAVAILABLE when the server stops, and refuses new ones: they would last to the end of the grace
/// otherwise, and their clients can go on elsewhere at once. Between two messages, so that the last one is whole. Other calls
/// go on.
#[derive(Clone, Debug, Default)]
pub struct DrainLayer {
    stopping: CancellationToken,
    streams: StreamingMethods,
    domain: Domain,
}

impl DrainLayer {
    /// Ends the streams of `methods` when `stopping` is cancelled; errors carry `domain`.
    pub fn new(stopping: CancellationToken, streams: StreamingMethods, domain: Domain) -> Self {
        Self { stopping, streams, domain }
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = DrainService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DrainService { inner, layer: self.clone() }
    }
}

/// The service of [`DrainLayer`].
#[derive(Clone, Debug)]
pub struct DrainService<S> {
    inner: S,
    layer: DrainLayer,
}

impl<S, A, B> Service<Request<A>> for DrainService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<DrainBody<B>>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let stream = self.layer.streams.contains(request.uri().path());
        let end = stream.then(|| Box::new(StreamEnd::new(self.layer.stopping.clone(), self.layer.domain)));
        DrainFuture { future: Some(self.inner.call(request)), end }
    }
}

pin_project! {
    /// The future of [`DrainService`].
    pub struct DrainFuture<F> {
        // None: over.
        #[pin]
        future: Option<F>,
        // None: no stream. Other calls carry no more than a pointer for it.
        end: Option<Box<StreamEnd>>,
    }
}

impl<F, B, E> Future for DrainFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<DrainBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(Ok(Status::internal("polled after its end").into_http()));
        };
        if let Poll::Ready(result) = future.poll(cx) {
            let end = this.end.take();
            return Poll::Ready(
                result.map(|response| response.map(|inner| DrainBody { inner: EarlyBody::new(inner, end) })),
            );
        }
        match this.end.as_mut().and_then(|end| end.on_wait(cx)) {
            None => Poll::Pending,
            Some(status) => {
                this.future.set(None);
                Poll::Ready(Ok(status.into_http()))
            }
        }
    }
}

impl EarlyEnd for Box<StreamEnd> {
    fn before_frame(&self) -> Option<Status> {
        self.before_data()
    }

    fn on_frame(&mut self, frame: Option<&Frame<Bytes>>) -> Option<Status> {
        if let Some(data) = frame.and_then(Frame::data_ref) {
            self.on_data(data);
        }
        None
    }

    fn on_wait(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        StreamEnd::on_wait(self, cx)
    }
}

pin_project! {
    /// A response body that ends when the server stops, if it is a stream.
    pub struct DrainBody<B> {
        #[pin]
        inner: EarlyBody<B, Box<StreamEnd>>,
    }
}

impl<B> Default for DrainBody<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: EarlyBody::default() }
    }
}

impl<B: Body<Data = Bytes>> Body for DrainBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

//! The layer that holds the messages of requests to a size.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use crate::server::Domain;
use crate::server::body::{EarlyBody, EarlyEnd};
use crate::server::request_size::{AnyMessage, CheckedRequest, RequestFault};

/// Ends calls with RESOURCE_EXHAUSTED when a message of the request is larger than allowed, as it is sent (compressed, if it
/// is). The handler is cancelled. tonic's own limit answers OUT_OF_RANGE, and counts for each service apart.
#[derive(Clone, Copy, Debug)]
pub struct MessageSizeLayer {
    max: usize,
    domain: Domain,
}

impl MessageSizeLayer {
    /// The most bytes of a message unless another number is said: gRPC's 4 MiB.
    pub const DEFAULT: usize = 4 << 20;

    /// Allows messages of `max` bytes; errors carry `domain`.
    pub fn new(max: usize, domain: Domain) -> Self {
        Self { max, domain }
    }

    /// The most bytes of a message.
    pub(in crate::server) fn max(&self) -> usize {
        self.max
    }
}

impl Default for MessageSizeLayer {
    fn default() -> Self {
        Self::new(Self::DEFAULT, Domain::default())
    }
}

impl<S> Layer<S> for MessageSizeLayer {
    type Service = MessageSizeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MessageSizeService { inner, layer: *self }
    }
}

/// The service of [`MessageSizeLayer`].
#[derive(Clone, Debug)]
pub struct MessageSizeService<S> {
    inner: S,
    layer: MessageSizeLayer,
}

impl<S, A, B> Service<Request<A>> for MessageSizeService<S>
where
    S: Service<Request<SizedRequest<A>>, Response = Response<B>>,
    A: Body<Data = Bytes>,
    A::Error: Into<StdError>,
    B: Body<Data = Bytes>,
{
    type Response = Response<SizedResponse<B>>;
    type Error = S::Error;
    type Future = MessageSizeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let fault = Arc::new(RequestFault::default());
        let MessageSizeLayer { max, domain } = self.layer;
        let future = self.inner.call(request.map(|inner| SizedRequest {
            inner: CheckedRequest::new(inner, max, domain, AnyMessage, Arc::clone(&fault)),
        }));
        MessageSizeFuture { future: Some(future), fault: Some(fault) }
    }
}

pin_project! {
    /// The future of [`MessageSizeService`].
    #[derive(Debug)]
    pub struct MessageSizeFuture<F> {
        // None: over.
        #[pin]
        future: Option<F>,
        fault: Option<Arc<RequestFault>>,
    }
}

impl<F, B, E> Future for MessageSizeFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<SizedResponse<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(future), Some(fault)) = (this.future.as_mut().as_pin_mut(), this.fault.as_ref()) else {
            return Poll::Ready(Ok(Status::internal("polled after its end").into_http()));
        };
        let polled = future.poll(cx);
        let over = if polled.is_pending() { fault.register(cx) } else { fault.get() };
        if let Some(status) = over {
            this.future.set(None);
            return Poll::Ready(Ok(status.into_http()));
        }
        polled.map(|result| {
            let fault = this.fault.take();
            result.map(|response| response.map(|inner| SizedResponse { inner: EarlyBody::new(inner, fault) }))
        })
    }
}

pin_project! {
    /// A request body whose messages are held to a size. What is too large ends it with RESOURCE_EXHAUSTED.
    #[derive(Debug)]
    pub struct SizedRequest<A> {
        #[pin]
        inner: CheckedRequest<A, AnyMessage>,
    }
}

impl<A> Body for SizedRequest<A>
where
    A: Body<Data = Bytes>,
    A::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl EarlyEnd for Arc<RequestFault> {
    fn on_frame(&mut self, _: Option<&Frame<Bytes>>) -> Option<Status> {
        self.get()
    }

    fn on_wait(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        self.register(cx)
    }
}

pin_project! {
    /// A response body that ends when a message of the request is too large.
    #[derive(Debug)]
    pub struct SizedResponse<B> {
        #[pin]
        inner: EarlyBody<B, Arc<RequestFault>>,
    }
}

impl<B> Default for SizedResponse<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: EarlyBody::default() }
    }
}

impl<B: Body<Data = Bytes>> Body for SizedResponse<B> {
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

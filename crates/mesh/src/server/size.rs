//! How large a message may be, by gRPC's length prefixes: told before the message is read, let alone decoded.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::codegen::StdError;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::Domain;
use super::body::trailers;
use crate::bodies::Framing;

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
    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn too_large(&self, length: u32) -> Status {
        let (length, max) = (length.to_string(), self.max.to_string());
        let message = format!("a message of {length} bytes is larger than the {max} bytes that this server takes");
        let metadata = [("length", length.as_str()), ("limit", max.as_str())];
        self.domain.refuse(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message, &metadata)
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

/// What the request's body tells the call. Whoever reads the body may be another task.
#[derive(Debug)]
struct Seen {
    layer: MessageSizeLayer,
    /// The length of a message that is too large; 0 while there is none.
    too_large: AtomicU32,
    waker: AtomicWaker,
}

impl Seen {
    /// Why the call is over, if it is.
    fn over(&self) -> Option<Status> {
        match self.too_large.load(Ordering::Acquire) {
            0 => None,
            length => Some(self.layer.too_large(length)),
        }
    }

    /// As [`Seen::over`], after something was pending.
    fn register(&self, cx: &Context<'_>) -> Option<Status> {
        self.waker.register(cx.waker());
        self.over()
    }
}

impl<S, A, B> Service<Request<A>> for MessageSizeService<S>
where
    S: Service<Request<SizedRequest<A>>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<SizedResponse<B>>;
    type Error = S::Error;
    type Future = MessageSizeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (too_large, waker) = (AtomicU32::new(0), AtomicWaker::new());
        let seen = Arc::new(Seen { layer: self.layer, too_large, waker });
        let (watch, framing) = (Some(Arc::clone(&seen)), Framing::default());
        let future = self.inner.call(request.map(|inner| SizedRequest { inner, framing, seen }));
        MessageSizeFuture { future: Some(future), watch }
    }
}

pin_project! {
    /// The future of [`MessageSizeService`].
    #[derive(Debug)]
    pub struct MessageSizeFuture<F> {
        // None: over.
        #[pin]
        future: Option<F>,
        watch: Option<Arc<Seen>>,
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
        let (Some(future), Some(watch)) = (this.future.as_mut().as_pin_mut(), this.watch.as_ref()) else {
            return Poll::Ready(Ok(Status::internal("polled after its end").into_http()));
        };
        let polled = future.poll(cx);
        let over = if polled.is_pending() { watch.register(cx) } else { watch.over() };
        if let Some(status) = over {
            this.future.set(None);
            return Poll::Ready(Ok(status.into_http()));
        }
        polled.map(|result| {
            let watch = this.watch.take();
            result.map(|response| response.map(|inner| SizedResponse { inner: Some(inner), watch }))
        })
    }
}

pin_project! {
    /// A request body whose messages are held to a size. What is too large ends it with RESOURCE_EXHAUSTED.
    #[derive(Debug)]
    pub struct SizedRequest<A> {
        #[pin]
        inner: A,
        framing: Framing,
        seen: Arc<Seen>,
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
        let this = self.project();
        this.inner.poll_frame(cx).map(|frame| {
            let frame = match frame? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(Status::from_error(error.into()))),
            };
            if let Some(data) = frame.data_ref()
                && let Err(length) = this.framing.read(data, this.seen.layer.max)
            {
                this.seen.too_large.store(length, Ordering::Release);
                this.seen.waker.wake();
                return Some(Err(Status::resource_exhausted("a message of the request is too large")));
            }
            Some(Ok(frame))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// A response body that ends when a message of the request is too large.
    #[derive(Debug)]
    pub struct SizedResponse<B> {
        // None: over, or there is none.
        #[pin]
        inner: Option<B>,
        watch: Option<Arc<Seen>>,
    }
}

impl<B> Default for SizedResponse<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, watch: None }
    }
}

impl<B: Body<Data = Bytes>> Body for SizedResponse<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let polled = inner.poll_frame(cx);
        let over = match this.watch.as_ref() {
            Some(watch) if polled.is_pending() => watch.register(cx),
            Some(watch) => watch.over(),
            None => None,
        };
        match over {
            None => polled,
            Some(status) => {
                this.inner.set(None);
                Poll::Ready(Some(Ok(trailers(&status))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

//! Response bodies that a layer can end before their time, with a status in the trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;

/// The last frame of a stream that ends with `status`. On a server an error of the body would reset the stream instead, and
/// the client would never see the status.
pub(super) fn trailers(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Details or metadata that are no headers: the code and nothing else.
        trailers.clear();
        trailers.insert("grpc-status", (status.code() as i32).into());
    }
    Frame::trailers(trailers)
}

/// What may end an answer before its time.
pub(super) trait EarlyEnd {
    /// Why an answer that always has something to say has to end, if it has to: it is asked before the next frame.
    fn before_frame(&self) -> Option<Status> {
        None
    }

    /// Why an answer that `frame` comes of has to end instead, if it has to; `None` is its own end, or an error of it.
    fn on_frame(&mut self, frame: Option<&Frame<Bytes>>) -> Option<Status>;

    /// Why an answer that waits has to end, if it has to; else `cx` is woken then.
    fn on_wait(&mut self, cx: &mut Context<'_>) -> Option<Status>;
}

pin_project! {
    /// An answer that may end early: what it comes from is dropped then, and it ends with a status in its trailers.
    #[derive(Debug)]
    pub(super) struct EarlyBody<B, E> {
        // None: over, or there is none.
        #[pin]
        inner: Option<B>,
        // None: nothing ends it.
        end: Option<E>,
    }
}

impl<B, E> EarlyBody<B, E> {
    /// `inner`, which `end` may end.
    pub(super) fn new(inner: B, end: Option<E>) -> Self {
        Self { inner: Some(inner), end }
    }
}

impl<B, E> Default for EarlyBody<B, E> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, end: None }
    }
}

impl<B: Body<Data = Bytes>, E: EarlyEnd> Body for EarlyBody<B, E> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(end) = this.end else { return inner.poll_frame(cx) };
        let mut polled = Poll::Pending;
        let mut status = end.before_frame();
        if status.is_none() {
            // What the handler has to say comes first: a watcher of the health is to see NOT_SERVING.
            polled = inner.poll_frame(cx);
            status = match &polled {
                Poll::Pending => end.on_wait(cx),
                Poll::Ready(Some(Ok(frame))) => end.on_frame(Some(frame)),
                Poll::Ready(_) => end.on_frame(None),
            };
        }
        let Some(status) = status else { return polled };
        this.inner.set(None);
        Poll::Ready(Some(Ok(trailers(&status))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

//! A response body that holds something to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A response body that holds something, such as a permit, until its end or until it is dropped. Or no body at all, for
    /// a Trailers-Only response that a layer made itself.
    #[derive(Debug)]
    pub struct HeldBody<B, T> {
        #[pin]
        inner: Option<B>,
        held: Option<T>,
    }
}

impl<B: Body, T> HeldBody<B, T> {
    /// Holds `held` while `inner` goes on.
    pub fn new(inner: B, held: T) -> Self {
        let held = (!inner.is_end_stream()).then_some(held);
        Self { inner: Some(inner), held }
    }
}

impl<B, T> Default for HeldBody<B, T> {
    /// No body, and nothing held.
    fn default() -> Self {
        Self { inner: None, held: None }
    }
}

impl<B: Body<Data = Bytes>, T> Body for HeldBody<B, T> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(inner.poll_frame(cx));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            *this.held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

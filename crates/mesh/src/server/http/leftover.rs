//! What a service leaves unread of a request of HTTP/1.1: it is in the way of the connection's next request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::task::yield_now;

/// How many bytes are read that no service wanted: of most requests, what has come with the head.
const MOST: usize = 64 << 10;
/// How often the connection has its turn, to hand over what has come.
const TURNS: usize = 4;

/// The body of a request, for its service and for the [`Leftover`].
pub(super) struct SharedBody<A>(Arc<Mutex<Shared<A>>>);

struct Shared<A> {
    body: A,
    ended: bool,
}

/// What is left of the body of a request.
pub(super) struct Leftover<A>(SharedBody<A>);

impl<A: Body<Data = Bytes> + Unpin> SharedBody<A> {
    /// `body`, with what will be left of it.
    pub(super) fn new(body: A) -> (Self, Leftover<A>) {
        let ended = body.is_end_stream();
        let shared = Arc::new(Mutex::new(Shared { body, ended }));
        (Self(Arc::clone(&shared)), Leftover(Self(shared)))
    }
}

impl<A> SharedBody<A> {
    fn lock(&self) -> MutexGuard<'_, Shared<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Body<Data = Bytes> + Unpin> Leftover<A> {
    /// Whether nothing is left of a body that is answered: it was read to its end or, where it is `drained`, the rest of it
    /// has come by now. Nothing more is waited for.
    pub(super) async fn consumed(mut self, drained: bool) -> bool {
        if self.0.lock().ended {
            return true;
        }
        // Its service may read on.
        if !drained || Arc::strong_count(&self.0.0) > 1 {
            return false;
        }
        let mut left = MOST;
        for _ in 0..TURNS {
            while let Some(frame) = self.0.frame().now_or_never() {
                let Some(frame) = frame else { return true };
                let size = frame.ok().and_then(|frame| left.checked_sub(frame.data_ref().map_or(0, Bytes::len)));
                let Some(rest) = size else { return false };
                left = rest;
            }
            yield_now().await;
        }
        false
    }
}

impl<A: Body<Data = Bytes> + Unpin> Body for SharedBody<A> {
    type Data = Bytes;
    type Error = A::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let mut shared = self.lock();
        let polled = Pin::new(&mut shared.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || polled.is_ready() && shared.body.is_end_stream() {
            shared.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;

    use super::*;

    type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, &'static str>>;

    fn body() -> (Frames, impl Body<Data = Bytes, Error = &'static str> + Unpin) {
        let (frames, mut receiver) = mpsc::unbounded_channel();
        (frames, StreamBody::new(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))))
    }

    fn send(frames: &Frames, bytes: usize) {
        frames.send(Ok(Frame::data(vec![0; bytes].into()))).unwrap();
    }

    #[tokio::test]
    async fn what_was_read_to_its_end_leaves_nothing() {
        let (frames, inner) = body();
        let (mut read, leftover) = SharedBody::new(inner);
        send(&frames, 7);
        drop(frames);
        assert_eq!(read.frame().await.unwrap().unwrap().into_data().unwrap().len(), 7);
        assert!(read.frame().await.is_none());
        assert!(leftover.consumed(false).await);
    }

    #[tokio::test]
    async fn a_small_rest_that_has_come_is_read() {
        for (sizes, consumed) in [(vec![], true), (vec![1, 60_000], true), (vec![60_000, 60_000], false)] {
            for drained in [true, false] {
                let (frames, inner) = body();
                let (unread, leftover) = SharedBody::new(inner);
                for size in &sizes {
                    send(&frames, *size);
                }
                drop((frames, unread));
                assert_eq!(leftover.consumed(drained).await, consumed && drained, "{sizes:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_rest_that_is_still_to_come_or_that_somebody_reads_is_left() {
        let (frames, inner) = body();
        let (unread, leftover) = SharedBody::new(inner);
        send(&frames, 1);
        drop(unread);
        assert!(!leftover.consumed(true).await);
        let (frames, inner) = body();
        let (mut read, leftover) = SharedBody::new(inner);
        send(&frames, 1);
        assert!(!leftover.consumed(true).await);
        assert!(read.frame().await.is_some(), "it was taken away");
        let (frames, inner) = body();
        let (unread, leftover) = SharedBody::new(inner);
        frames.send(Err("as planned")).unwrap();
        drop(unread);
        assert!(!leftover.consumed(true).await);
    }
}

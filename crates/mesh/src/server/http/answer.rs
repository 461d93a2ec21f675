//! An answer on its way out over HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::wire::Activity;
use crate::server::pipeline::{ActiveCall, AnswerBody};
use crate::transport::CallGuard as _;

/// How much the connection gets at once. It takes no more while it has more than its buffer holds: what is left here is
/// counted.
const PIECE: usize = 16 << 10;

/// The body of an answer. What its client has not made room for counts as unread; its request holds what it has until
/// the last byte is written.
pub(super) struct PacedAnswer {
    body: AnswerBody,
    /// Taken from the body, and not by the connection; how large the memory is that it is a part of.
    rest: Bytes,
    allocated: usize,
    call: Arc<ActiveCall>,
    activity: Arc<Activity>,
}

impl PacedAnswer {
    pub(super) fn new(body: AnswerBody, call: Arc<ActiveCall>, activity: Arc<Activity>) -> Self {
        Self { body, rest: Bytes::new(), allocated: 0, call, activity }
    }
}

impl Drop for PacedAnswer {
    fn drop(&mut self) {
        self.activity.leave_unwritten(Arc::clone(&self.call));
    }
}

impl Body for PacedAnswer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(never)) => match never {},
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => (this.allocated, this.rest) = (data.len(), data),
                // There is nothing more of it.
                Err(_) if this.call.is_cut_off() => return Poll::Ready(Some(Err(cut_off()))),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        let unread = if this.rest.is_empty() { 0 } else { this.allocated };
        if this.call.unread(unread).is_err() {
            this.rest = Bytes::new();
            return Poll::Ready(Some(Err(cut_off())));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// The end of a connection whose answer can't go on: its client is not to take it for whole.
fn cut_off() -> io::Error {
    io::Error::other("the answer was cut off")
}

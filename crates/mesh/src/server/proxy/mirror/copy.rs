//! The messages of one call on their way to one mirror.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tonic::Status;

use super::room::Place;

enum Part {
    Data(Bytes),
    End,
}

/// Takes the pieces of a request as they pass by, and never waits. Dropped before the end of the request, it ends its
/// call.
pub struct RequestCopy {
    /// Has a bound: that of the bytes that a [`Place`] gives out.
    parts: UnboundedSender<Part>,
    /// It is its call's, which may have ended long before the request that passes by.
    place: Weak<Place>,
    call: AbortHandle,
    ended: bool,
}

/// The body of the copy of a request.
pub(super) struct CopyBody {
    parts: UnboundedReceiver<Part>,
    ended: bool,
}

/// What feeds a [`CopyBody`], once the call with it is under way.
pub(super) struct Feed(UnboundedSender<Part>);

pub(super) fn body() -> (Feed, CopyBody) {
    let (sender, parts) = unbounded_channel();
    (Feed(sender), CopyBody { parts, ended: false })
}

impl RequestCopy {
    /// Feeds the task `call`, which has `place`.
    pub(super) fn new(Feed(parts): Feed, place: &Arc<Place>, call: AbortHandle) -> Self {
        Self { parts, place: Arc::downgrade(place), call, ended: false }
    }

    /// Copies `data`. Whether the copy goes on: not when there is no room, or its call has ended.
    pub fn data(&self, data: &Bytes) -> bool {
        let Some(place) = self.place.upgrade() else { return false };
        if data.is_empty() {
            return true;
        }
        let Some(copy) = place.copy(data) else {
            place.cut();
            return false;
        };
        self.parts.send(Part::Data(copy)).is_ok()
    }

    /// The request has ended.
    pub fn end(mut self) {
        self.ended = self.parts.send(Part::End).is_ok();
    }
}

impl Drop for RequestCopy {
    fn drop(&mut self) {
        if !self.ended {
            self.call.abort();
        }
    }
}

impl Body for CopyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.parts.poll_recv(cx)) {
            Some(Part::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Part::End) => {
                self.ended = true;
                Poll::Ready(None)
            }
            // The call is about to be ended, and must not look whole until then.
            None => Poll::Ready(Some(Err(Status::cancelled("the request that this is a copy of broke off")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

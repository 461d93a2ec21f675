//! Bodies of HTTP whose bytes are counted. That of an answer holds the record to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::record::{SharedRecord, count};

/// Which body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Answer,
}

/// A body whose bytes are counted.
pub(super) struct CountedBody {
    body: Body,
    side: Side,
    record: SharedRecord,
    ended: bool,
}

impl CountedBody {
    pub(super) fn wrap(body: Body, side: Side, record: &SharedRecord) -> Body {
        Body::new(Self { ended: body.is_end_stream(), body, side, record: Arc::clone(record) })
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended = !matches!(&frame, Some(Ok(frame)) if frame.is_data()) || self.body.is_end_stream();
        if let Some(Err(status)) = &frame
            && self.side == Side::Answer
        {
            self.record.notes().answer_code = Some(status.code());
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let Self { side, record, .. } = &*self;
            let counted = if *side == Side::Request { &record.received } else { &record.sent };
            count(counted, data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for CountedBody {
    fn drop(&mut self) {
        if self.side == Side::Answer && !self.ended {
            self.record.notes().is_cut = true;
        }
    }
}

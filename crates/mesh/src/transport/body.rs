//! What a request sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// A request body that may be in memory whole already.
pub trait RequestStream: Body<Data = Bytes, Error = Status> + Unpin + Send + 'static {
    /// All of it, if it is here: then it is sent in one step, and nothing is polled. `Some` of nothing when there is no body at
    /// all, which ends the request with its headers. Asked before the first poll.
    fn take_whole(&mut self) -> Option<Bytes>;
}

/// A request body that is in memory whole; `None`: none at all.
#[derive(Clone, Debug, Default)]
pub struct FullBody(pub Option<Bytes>);

impl RequestStream for FullBody {
    fn take_whole(&mut self) -> Option<Bytes> {
        Some(self.0.take().unwrap_or_default())
    }
}

impl Body for FullBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

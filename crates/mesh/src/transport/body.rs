//! What a request sends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// The body of one attempt.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// All of it, as one message or as many: sent in one step and cheap to send again.
    Full(Bytes),
    /// What comes from a caller, once.
    Once(tonic::body::Body),
    /// What comes from a caller and is kept to be sent again.
    Replay(crate::client::retry::ReplayBody),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(_) => match std::mem::take(&mut *self) {
                Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Self::Once(body) => Pin::new(body).poll_frame(cx),
            Self::Replay(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Once(body) => body.is_end_stream(),
            Self::Replay(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Once(body) => body.size_hint(),
            Self::Replay(body) => body.size_hint(),
        }
    }
}

impl From<RequestBody> for tonic::body::Body {
    fn from(body: RequestBody) -> Self {
        match body {
            RequestBody::Empty => Self::empty(),
            RequestBody::Once(body) => body,
            body => Self::new(body),
        }
    }
}

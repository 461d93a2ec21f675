//! What an attempt sends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::replay::ReplayBody;
use crate::bodies::SharedBytes;
use crate::transport::RequestStream;

/// The body of one attempt.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// All of it, as one message or as many: sent in one step and cheap to send again.
    Full(Bytes),
    /// What comes from a caller, and may be sent again.
    Replay(ReplayBody),
    /// The same, while somebody counts what is read of it.
    Counted(Box<CountedBody>),
}

/// A body whose bytes are counted as they are read.
#[derive(Debug)]
pub struct CountedBody {
    body: ReplayBody,
    sent: Arc<SharedBytes>,
}

impl RequestBody {
    /// Counts in `sent` what is sent: at once what is in memory.
    pub fn count(&mut self, sent: &Arc<SharedBytes>) {
        *self = match std::mem::take(self) {
            Self::Full(bytes) => {
                sent.read(&bytes);
                Self::Full(bytes)
            }
            Self::Replay(body) => Self::Counted(Box::new(CountedBody { body, sent: Arc::clone(sent) })),
            body @ (Self::Empty | Self::Counted(_)) => body,
        };
    }
}

impl RequestStream for RequestBody {
    fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Some(bytes)
            }
            Self::Replay(_) | Self::Counted(_) => None,
        }
    }
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
            Self::Replay(body) => Pin::new(body).poll_frame(cx),
            Self::Counted(counted) => {
                let frame = ready!(Pin::new(&mut counted.body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    counted.sent.read(data);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Replay(body) => body.is_end_stream(),
            Self::Counted(counted) => counted.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Replay(body) => body.size_hint(),
            Self::Counted(counted) => counted.body.size_hint(),
        }
    }
}

impl From<RequestBody> for tonic::body::Body {
    fn from(body: RequestBody) -> Self {
        match body {
            RequestBody::Empty => Self::empty(),
            body => Self::new(body),
        }
    }
}

//! The answer of an upstream on its way to the caller.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::errors::of_mesh;
use crate::domain::Upstream;

/// An answer whose end is always a gRPC status: one that breaks off ends UNAVAILABLE instead of as a broken HTTP stream.
pub struct Answer {
    body: Body,
    upstream: Upstream,
    ended: bool,
}

impl Answer {
    /// The answer of `upstream`.
    pub fn new(body: Body, upstream: Upstream) -> Self {
        Self { body, upstream, ended: false }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => {
                self.ended = frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                if error.code() != Code::DeadlineExceeded {
                    tracing::warn!(upstream = self.upstream.as_str(), %error, "an answer has broken off");
                }
                let status = of_mesh(self.upstream, error.code());
                self.end(&status)
            }
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The end may be ours, so that the upstream's length holds for nothing.
        SizeHint::default()
    }
}

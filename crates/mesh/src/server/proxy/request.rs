//! The request of a caller on its way to an upstream.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::mirror::RequestCopy;

/// What a request failed with, if it did: the mesh ends its call for it, and no upstream is to blame.
#[derive(Debug, Default)]
pub(super) struct RequestFailure(Arc<OnceLock<Status>>);

impl RequestFailure {
    /// The request's own status, with its details.
    pub(super) fn status(&self) -> Option<Status> {
        self.0.get().cloned()
    }
}

/// The body of a request; its failure is told to the [`RequestFailure`] before anybody else learns of it. What is read of
/// it is copied for mirrors, which are never waited for.
pub(super) struct RequestBody {
    body: Body,
    failure: Arc<OnceLock<Status>>,
    /// Those that go on.
    copies: Vec<RequestCopy>,
}

impl RequestBody {
    pub(super) fn new(body: Body, copies: Vec<RequestCopy>) -> (Self, RequestFailure) {
        let failure = RequestFailure::default();
        let mut request = Self { body, failure: Arc::clone(&failure.0), copies };
        request.end_copies();
        (request, failure)
    }

    /// Ends the copies of a body that has ended.
    fn end_copies(&mut self) {
        if !self.copies.is_empty() && self.body.is_end_stream() {
            self.copies.drain(..).for_each(RequestCopy::end);
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.copies.retain(|copy| copy.data(data));
                }
                self.end_copies();
            }
            Some(Err(status)) => {
                // The first failure counts.
                let _ = self.failure.set(status.clone());
                self.copies.clear();
            }
            None => self.copies.drain(..).for_each(RequestCopy::end),
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

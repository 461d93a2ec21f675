//! The answer of an upstream on its way to the caller.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::passage::Passage;
use super::routes::Routes;
use crate::server::body::trailers;

/// An answer whose end is always a gRPC status: one that breaks off ends with the status that the caller is told for
/// it, instead of as a broken HTTP stream.
pub(super) struct AnswerBody<R> {
    body: Body,
    passage: Passage<R>,
    ended: bool,
}

impl<R: Routes> AnswerBody<R> {
    /// An answer that has begun, and whose status is still to come.
    pub(super) fn new(body: Body, passage: Passage<R>) -> Self {
        Self { body, passage, ended: false }
    }
}

impl<R: Routes> http_body::Body for AnswerBody<R> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => trailers(&self.passage.failed(&error)),
            None => trailers(&self.passage.unfinished()),
        };
        self.ended = frame.is_trailers();
        if self.ended {
            // What it holds of the upstream is let go.
            self.body = Body::empty();
            self.passage.ended();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        // The end may be ours, so that the upstream's length holds for nothing.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;
    use http::request::Parts;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;
    use crate::client::channel::Channel;
    use crate::server::proxy::mirror::MirroredCalls;
    use crate::server::proxy::passage::ProxyState;
    use crate::server::proxy::request::RequestBody;
    use crate::server::proxy::routes::{Route, Upstream};

    struct Nowhere;

    impl Routes for Nowhere {
        fn has(&self, _: &str) -> bool {
            false
        }

        fn route(&self, _: &mut Parts) -> Result<Route, Status> {
            Err(Status::unimplemented("nowhere"))
        }
    }

    /// The data and the trailers of an answer of these frames, to a request that fails with `request` while it is read.
    async fn passed(frames: Vec<Result<Frame<Bytes>, Status>>, request: Option<Status>) -> (Bytes, HeaderMap) {
        let upstream = Upstream::new("users", Channel::connect_lazy("static:///10.0.0.1:1").unwrap());
        let sent = StreamBody::new(stream::iter(request.map(Err::<Frame<Bytes>, _>)));
        let (request, failure) = RequestBody::new(Body::new(sent), Vec::new());
        let _ = request.collect().await;
        let state = Arc::new(ProxyState::new(Nowhere));
        let passage = Passage::new(state, upstream, failure, MirroredCalls::default());
        let body = AnswerBody::new(Body::new(StreamBody::new(stream::iter(frames))), passage);
        let read = body.collect().await.unwrap();
        let trailers = read.trailers().cloned().unwrap();
        (read.to_bytes(), trailers)
    }

    fn data() -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::from_static(b"data")))
    }

    #[tokio::test]
    async fn trailers_pass_as_they_are_and_end_the_answer() {
        let mut sent = HeaderMap::new();
        sent.insert("grpc-status", HeaderValue::from(5_i32));
        sent.insert("x-trailer", HeaderValue::from_static("sent"));
        let frames = vec![data(), Ok(Frame::trailers(sent.clone())), Err(Status::internal("too late"))];
        assert_eq!(passed(frames, None).await, (Bytes::from_static(b"data"), sent));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_ends_with_a_status_that_names_the_upstream_and_nothing_else() {
        let answers = [
            (Code::DeadlineExceeded, "users didn't answer in time"),
            (Code::ResourceExhausted, "the call to users, or its answer, is beyond a limit"),
            (Code::Unavailable, "users doesn't answer at this moment"),
        ];
        for (code, message) in answers {
            let (bytes, trailers) = passed(vec![data(), Err(Status::new(code, "10.0.0.1 broke"))], None).await;
            let status = Status::from_header_map(&trailers).unwrap();
            assert_eq!((&*bytes, status.code(), status.message()), (&b"data"[..], code, message));
        }
        for frames in [vec![data(), Err(Status::internal("10.0.0.1 broke"))], vec![data()], vec![]] {
            let status = Status::from_header_map(&passed(frames, None).await.1).unwrap();
            assert_eq!((status.code(), status.message()), (Code::Unavailable, "users doesn't answer at this moment"));
        }
    }

    #[tokio::test]
    async fn a_callers_own_request_that_failed_gives_the_status() {
        let own = Status::with_details(Code::ResourceExhausted, "too long", Bytes::from_static(b"details"));
        let (_, trailers) = passed(vec![data(), Err(Status::cancelled("reset"))], Some(own)).await;
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "too long"));
        assert_eq!(status.details(), b"details");
    }
}

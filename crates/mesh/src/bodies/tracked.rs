//! The one body that tracks how a message stream ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::codegen::StdError;
use tonic::{Code, Status};

use super::error::status_of;
use crate::outcome::{Outcome, grpc_status};

/// What waits for the end of a response. Dropped before `finish`, the call was cancelled.
pub trait Finish {
    /// Data of the response went by. Does nothing, unless implemented.
    fn data(&mut self, data: &[u8]) {
        let _ = data;
    }

    /// The response ended with `outcome`. Called once, at trailers or error.
    fn finish(self, outcome: Outcome);

    /// A chance to say more in a status that was made on this side, before [`finish`](Self::finish) is called. The same
    /// status, unless implemented.
    fn explain(&mut self, status: Status) -> Status {
        status
    }
}

impl<F: FnOnce(Outcome)> Finish for F {
    fn finish(self, outcome: Outcome) {
        self(outcome);
    }
}

/// The guard of bodies that nobody waits for the end of; there is no value of it.
#[derive(Debug)]
pub enum Untracked {}

impl Finish for Untracked {
    fn finish(self, _: Outcome) {
        match self {}
    }
}

pin_project! {
    /// A response body that reports how it ended.
    ///
    /// The outcome is that of the trailers; an error of the body counts by its status, see [`Outcome::of_error`]; the end
    /// without trailers is UNKNOWN unless the headers held the status (Trailers-Only).
    #[derive(Debug)]
    pub struct TrackedBody<B, G> {
        // None: it failed, it was given up, or there is none.
        #[pin]
        inner: Option<B>,
        guard: Option<G>,
        ended: Option<Code>,
    }
}

impl<B, G: Finish> TrackedBody<B, G> {
    /// Follows `inner` to its end.
    pub(crate) fn new(inner: B, guard: G) -> Self {
        Self { inner: Some(inner), guard: Some(guard), ended: None }
    }

    /// A body that nobody waits for the end of.
    pub(crate) fn untracked(inner: B) -> Self {
        Self { inner: Some(inner), guard: None, ended: None }
    }

    /// The body of a Trailers-Only response: it ended with `code` in the headers, and nobody waits for its end any more.
    pub(crate) fn ended_at_headers(inner: B, code: Code) -> Self {
        Self { inner: Some(inner), guard: None, ended: Some(code) }
    }

    /// Follows the body of `response`; a Trailers-Only response ends at once.
    pub(crate) fn respond(response: http::Response<B>, guard: G) -> http::Response<Self> {
        match grpc_status(response.headers()) {
            Some(code) => {
                guard.finish(Outcome::Status(code));
                response.map(|inner| Self::ended_at_headers(inner, code))
            }
            None => response.map(|inner| Self::new(inner, guard)),
        }
    }

    /// How the response ended, once it has.
    pub fn ended(&self) -> Option<Code> {
        self.ended
    }
}

/// The first end counts.
fn settle<G: Finish>(guard: &mut Option<G>, ended: &mut Option<Code>, outcome: Outcome) {
    ended.get_or_insert(outcome.code());
    if let Some(guard) = guard.take() {
        guard.finish(outcome);
    }
}

impl<B, G> Default for TrackedBody<B, G> {
    /// No body, and nobody who waits for its end.
    fn default() -> Self {
        Self { inner: None, guard: None, ended: None }
    }
}

impl<B, G> Body for TrackedBody<B, G>
where
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
    G: Finish,
{
    type Data = Bytes;
    type Error = Status;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        Poll::Ready(match ready!(inner.poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Some(guard) = this.guard {
                        guard.data(data);
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    let code = grpc_status(trailers).unwrap_or(Code::Unknown);
                    settle(this.guard, this.ended, Outcome::Status(code));
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let mut status = status_of(error.into());
                let outcome = Outcome::of_error(&status);
                if let Some(guard) = this.guard {
                    status = guard.explain(status);
                }
                this.inner.set(None);
                settle(this.guard, this.ended, outcome);
                Some(Err(status))
            }
            None => {
                settle(this.guard, this.ended, Outcome::Status(Code::Unknown));
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        // Trailers are still to come, and with them the outcome.
        self.guard.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt as _;
    use futures_util::stream;
    use http::{HeaderMap, Response};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::outcome::CallerFault;
    use crate::transport::TransportError;

    type Frames<E> = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, E>>>>;

    fn frames<E>(frames: Vec<Result<Frame<Bytes>, E>>) -> Frames<E> {
        StreamBody::new(stream::iter(frames))
    }

    fn data<E>(data: &'static [u8]) -> Result<Frame<Bytes>, E> {
        Ok(Frame::data(Bytes::from_static(data)))
    }

    fn trailers<E>(code: Code) -> Result<Frame<Bytes>, E> {
        Ok(Frame::trailers(headers(code)))
    }

    fn headers(code: Code) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", (code as i32).into());
        headers
    }

    /// Calls a function at the end of a response, with [`Outcome::Cancelled`] when it is dropped first.
    #[derive(Debug)]
    struct OnEnd<F: FnOnce(Outcome)>(Option<F>);

    impl<F: FnOnce(Outcome)> OnEnd<F> {
        fn new(end: F) -> Self {
            Self(Some(end))
        }
    }

    impl<F: FnOnce(Outcome)> Finish for OnEnd<F> {
        fn finish(mut self, outcome: Outcome) {
            if let Some(end) = self.0.take() {
                end(outcome);
            }
        }
    }

    impl<F: FnOnce(Outcome)> Drop for OnEnd<F> {
        fn drop(&mut self) {
            if let Some(end) = self.0.take() {
                end(Outcome::Cancelled);
            }
        }
    }

    fn guard() -> (impl Finish, Receiver<Outcome>) {
        let (sender, outcomes) = channel();
        (OnEnd::new(move |outcome| sender.send(outcome).unwrap()), outcomes)
    }

    fn next<B>(body: &mut B) -> Option<Result<Frame<Bytes>, Status>>
    where
        B: Body<Data = Bytes, Error = Status> + Unpin,
    {
        body.frame().now_or_never().unwrap()
    }

    #[test]
    fn a_response_ends_once_with_the_status_of_its_trailers() {
        let (guard, outcomes) = guard();
        let mut body = TrackedBody::new(frames::<Status>(vec![data(b"x"), trailers(Code::NotFound)]), guard);
        assert!(next(&mut body).unwrap().unwrap().is_data());
        assert_eq!((body.ended(), outcomes.try_recv().ok()), (None, None));
        assert!(!body.is_end_stream());
        assert!(next(&mut body).unwrap().unwrap().is_trailers());
        assert_eq!(body.ended(), Some(Code::NotFound));
        assert!(next(&mut body).is_none());
        assert_eq!(body.ended(), Some(Code::NotFound), "the first end counts");
        drop(body);
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), [Outcome::Status(Code::NotFound)]);
    }

    #[test]
    fn an_end_without_trailers_is_unknown() {
        for end in [vec![], vec![Ok::<_, Status>(Frame::trailers(HeaderMap::new()))]] {
            let (guard, outcomes) = guard();
            let mut body = TrackedBody::new(frames(end), guard);
            let _ = next(&mut body);
            assert_eq!(body.ended(), Some(Code::Unknown));
            drop(body);
            assert_eq!(outcomes.iter().collect::<Vec<_>>(), [Outcome::Status(Code::Unknown)]);
        }
    }

    #[test]
    fn a_body_that_is_dropped_was_cancelled() {
        let (guard, outcomes) = guard();
        let mut body = TrackedBody::new(frames::<Status>(vec![data(b"x"), trailers(Code::Ok)]), guard);
        let _ = next(&mut body);
        drop(body);
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), [Outcome::Cancelled]);
    }

    #[test]
    fn an_error_counts_by_its_status_and_ends_the_body() {
        let mut by_caller = Status::resource_exhausted("too long");
        by_caller.set_source(Arc::new(CallerFault));
        let errors: [(StdError, Outcome); 4] = [
            (Status::data_loss("lost").into(), Outcome::Status(Code::DataLoss)),
            (by_caller.into(), Outcome::Caller(Code::ResourceExhausted)),
            (TransportError::unavailable("broken").into(), Outcome::Status(Code::Unavailable)),
            ("no status".into(), Outcome::Status(Code::Unknown)),
        ];
        for (error, expected) in errors {
            let (guard, outcomes) = guard();
            let mut body = TrackedBody::new(frames(vec![data(b"x"), Err(error), data(b"y")]), guard);
            let _ = next(&mut body);
            assert_eq!(next(&mut body).unwrap().unwrap_err().code(), expected.code());
            assert_eq!(body.ended(), Some(expected.code()));
            assert!(body.is_end_stream() && next(&mut body).is_none());
            assert_eq!(outcomes.iter().collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn a_trailers_only_response_ends_at_its_headers() {
        let (guard, outcomes) = guard();
        let mut response = Response::new(frames::<Status>(vec![]));
        *response.headers_mut() = headers(Code::Unavailable);
        let mut body = TrackedBody::respond(response, guard).into_body();
        assert_eq!(outcomes.try_recv().unwrap(), Outcome::Status(Code::Unavailable));
        assert_eq!(body.ended(), Some(Code::Unavailable));
        assert!(next(&mut body).is_none());
        assert_eq!((body.ended(), outcomes.try_recv().ok()), (Some(Code::Unavailable), None));
    }

    /// Writes down what it is called for.
    #[derive(Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Finish for Log {
        fn data(&mut self, data: &[u8]) {
            self.0.lock().unwrap().push(format!("{} bytes", data.len()));
        }

        fn finish(self, outcome: Outcome) {
            self.0.lock().unwrap().push(format!("{outcome:?}"));
        }

        fn explain(&mut self, status: Status) -> Status {
            self.0.lock().unwrap().push("explain".to_owned());
            Status::new(status.code(), format!("{}, and why", status.message()))
        }
    }

    #[test]
    fn a_guard_sees_the_data_and_explains_an_error_before_the_end() {
        let log = Log::default();
        let lines = Arc::clone(&log.0);
        let error = Err(Status::internal("it failed"));
        let mut body = TrackedBody::new(frames(vec![data(b"abc"), data(b"de"), error]), log);
        assert!(next(&mut body).is_some() && next(&mut body).is_some());
        assert_eq!(next(&mut body).unwrap().unwrap_err().message(), "it failed, and why");
        assert_eq!(*lines.lock().unwrap(), ["3 bytes", "2 bytes", "explain", "Status(Internal)"]);
    }
}

//! How a call ends, as breakers, outlier detection, limits and balancers see it: at its trailers, not at its headers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};

/// How an attempt or a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server, or the mesh in its place, answered with this code; `Ok` among them.
    Status(Code),
    /// The attempt took longer than its `attemptTimeout`.
    TimedOut,
    /// The caller let go before the end: says nothing about the server.
    Cancelled,
    /// It ended with this code by what its caller did: a deadline that was too short, a body that failed or never came, a
    /// limit of the caller's own. It says nothing about the server.
    Caller(Code),
}

/// How long a server must have been waited for until a deadline speaks against it, where no `attemptTimeout` says so; a tenth
/// less is enough, since a deadline of one second leaves its attempt a little less than that.
pub const PATIENCE: Duration = Duration::from_secs(1);

impl Outcome {
    /// Whether it speaks against the server: UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL, UNKNOWN, DATA_LOSS, or an
    /// attempt that timed out.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Status(code) => matches!(
                code,
                Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown | Code::DataLoss
            ),
            Self::TimedOut => true,
            Self::Cancelled | Self::Caller(_) => false,
        }
    }

    /// Whether it says anything about the server: not what its caller did, and not CANCELLED, by whichever side.
    pub fn is_judged(self) -> bool {
        !matches!(self, Self::Cancelled | Self::Caller(_) | Self::Status(Code::Cancelled))
    }

    /// The outcome `code` of an attempt for which the server was waited for `waited`; `None`: its request was never sent
    /// whole. A deadline speaks against the server only after `patience`, the `attemptTimeout` or [`PATIENCE`].
    pub fn of(code: Code, waited: Option<Duration>, patience: Option<Duration>) -> Self {
        let late = waited.is_some_and(|waited| waited >= patience.unwrap_or(PATIENCE).mul_f64(0.9));
        if code == Code::DeadlineExceeded && !late { Self::Caller(code) } else { Self::Status(code) }
    }

    /// The code that a caller gets for it.
    pub fn code(self) -> Code {
        match self {
            Self::Status(code) | Self::Caller(code) => code,
            Self::TimedOut => Code::Unavailable,
            Self::Cancelled => Code::Cancelled,
        }
    }
}

/// A name that is made once is found without being parsed.
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The `grpc-status` of `headers`: that of a Trailers-Only response, or of trailers. A value that is no number is
/// UNKNOWN, as in every gRPC library.
pub fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers.get(&GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// What waits for the end of a response. Dropped before `finish`, the call was cancelled.
pub trait Finish {
    /// The response ended with `outcome`. Called once, at trailers or error.
    fn finish(self, outcome: Outcome);
}

impl<F: FnOnce(Outcome)> Finish for F {
    fn finish(self, outcome: Outcome) {
        self(outcome);
    }
}

/// Calls a function at the end of a response, with [`Outcome::Cancelled`] when it is dropped first.
#[derive(Debug)]
pub struct OnEnd<F: FnOnce(Outcome)>(Option<F>);

impl<F: FnOnce(Outcome)> OnEnd<F> {
    /// Calls `end` exactly once.
    pub fn new(end: F) -> Self {
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

pin_project! {
    /// A response body that reports how it ended.
    ///
    /// The outcome is that of the trailers; an error of the body counts by its status; the end without trailers is
    /// UNKNOWN unless the headers held the status (see [`TrackedBody::respond`]).
    #[derive(Debug)]
    pub struct TrackedBody<B, G> {
        #[pin]
        inner: B,
        guard: Option<G>,
    }
}

impl<B, G: Finish> TrackedBody<B, G> {
    /// Follows `inner` to its end.
    pub fn new(inner: B, guard: G) -> Self {
        Self { inner, guard: Some(guard) }
    }

    /// A body that nobody waits for the end of.
    pub fn untracked(inner: B) -> Self {
        Self { inner, guard: None }
    }

    /// Follows the body of `response`; a Trailers-Only response ends at once.
    pub fn respond(response: http::Response<B>, guard: G) -> http::Response<Self> {
        let mut guard = Some(guard);
        if let Some(code) = grpc_status(response.headers())
            && let Some(guard) = guard.take()
        {
            guard.finish(Outcome::Status(code));
        }
        response.map(|inner| Self { inner, guard })
    }
}

impl<B, G> Body for TrackedBody<B, G>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
    G: Finish,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        let (frame, outcome) = match ready!(this.inner.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let outcome = frame
                    .trailers_ref()
                    .map(|trailers| Outcome::Status(grpc_status(trailers).unwrap_or(Code::Unknown)));
                (Some(Ok(frame)), outcome)
            }
            Some(Err(error)) => {
                let status = Status::from_error(error.into());
                let code = status.code();
                (Some(Err(status)), Some(Outcome::Status(code)))
            }
            None => (None, Some(Outcome::Status(Code::Unknown))),
        };
        if let Some(outcome) = outcome
            && let Some(guard) = this.guard.take()
        {
            guard.finish(outcome);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

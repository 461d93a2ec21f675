//! The one body that keeps a deadline.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::codegen::StdError;

use super::error::status_of;
use crate::outcome::CallerFault;

/// How a call ends at its deadline.
pub trait ExpiryStatus: Copy + Default {
    /// The status of a call whose deadline passed; `when` says how far it had come.
    fn status(self, when: &str) -> Status;

    /// The last that comes of a body which ends with `status`.
    ///
    /// # Errors
    /// The status itself, where it ends the body as an error and not in trailers.
    fn last(self, status: Status) -> Result<Frame<Bytes>, Status>;
}

/// Ends calls with DEADLINE_EXCEEDED; a body as the caller's own doing ([`CallerFault`]), since its server has answered in time,
/// and how long the stream may last was for the caller to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exceeded;

impl ExpiryStatus for Exceeded {
    fn status(self, when: &str) -> Status {
        Status::deadline_exceeded(format!("the deadline of the call passed {when}"))
    }

    fn last(self, mut status: Status) -> Result<Frame<Bytes>, Status> {
        status.set_source(Arc::new(CallerFault));
        Err(status)
    }
}

pin_project! {
    /// A body that ends at a deadline, by default with the error DEADLINE_EXCEEDED. It takes a timer when it first has to wait.
    /// Trailers that come late still pass: they hold the status of the call.
    pub struct DeadlineBody<B, X = Exceeded> {
        // None: over, or there is none.
        #[pin]
        inner: Option<B>,
        deadline: Option<Instant>,
        sleep: Option<Pin<Box<Sleep>>>,
        expiry: X,
    }
}

impl<B> DeadlineBody<B> {
    /// Ends `inner` at `deadline`, if there is one: then it is dropped, which cancels what it comes from.
    pub(crate) fn new(inner: B, deadline: Option<Instant>) -> Self {
        Self::with_expiry(inner, deadline, Exceeded)
    }
}

impl<B, X> DeadlineBody<B, X> {
    /// Ends `inner` at `deadline`, if there is one, as `expiry` says.
    pub(crate) fn with_expiry(inner: B, deadline: Option<Instant>, expiry: X) -> Self {
        Self { inner: Some(inner), deadline, sleep: None, expiry }
    }
}

impl<B, X: Default> Default for DeadlineBody<B, X> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, deadline: None, sleep: None, expiry: X::default() }
    }
}

impl<B, X> Body for DeadlineBody<B, X>
where
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
    X: ExpiryStatus,
{
    type Data = Bytes;
    type Error = Status;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match inner.poll_frame(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(status_of(error.into())))),
            Poll::Ready(Some(Ok(frame))) => {
                // A body that never has to wait would never meet its timer.
                let late = frame.is_data() && this.deadline.is_some_and(|deadline| deadline <= Instant::now());
                if !late {
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
            Poll::Pending => {
                let Some(deadline) = *this.deadline else { return Poll::Pending };
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        // Dropped, what it comes from is cancelled.
        this.inner.set(None);
        *this.sleep = None;
        let status = this.expiry.status("before the end of its response");
        Poll::Ready(Some(this.expiry.last(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: fmt::Debug, X: fmt::Debug> fmt::Debug for DeadlineBody<B, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineBody")
            .field("inner", &self.inner)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt as _, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;
    use crate::outcome::Outcome;

    const SECOND: Duration = Duration::from_secs(1);

    fn in_a_second() -> Option<Instant> {
        Some(Instant::now() + SECOND)
    }

    /// A stream on which nothing comes.
    #[derive(Default)]
    struct Silent(#[expect(dead_code, reason = "counted by its references")] Arc<()>);

    impl Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_ends_at_its_deadline_and_is_dropped() {
        let stream = Arc::new(());
        let mut body = DeadlineBody::new(Silent(Arc::clone(&stream)), in_a_second());
        let start = Instant::now();
        let status = body.frame().await.unwrap().unwrap_err();
        assert!(start.elapsed() >= SECOND && start.elapsed() < SECOND + SECOND / 10, "{:?}", start.elapsed());
        assert_eq!(Outcome::of_error(&status), Outcome::Caller(Code::DeadlineExceeded));
        assert_eq!(Arc::strong_count(&stream), 1);
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_never_waits_ends_at_its_deadline() {
        let frames = stream::repeat_with(|| Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))));
        let mut body = DeadlineBody::new(StreamBody::new(frames), in_a_second());
        for _ in 0..9 {
            assert!(body.frame().now_or_never().unwrap().unwrap().is_ok());
            tokio::time::advance(SECOND / 10).await;
        }
        assert!(body.sleep.is_none(), "it never had to wait");
        tokio::time::advance(SECOND / 10).await;
        let status = body.frame().now_or_never().unwrap().unwrap().unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_and_errors_that_come_late_pass() {
        for end in [Ok(Frame::<Bytes>::trailers(HeaderMap::new())), Err(Status::data_loss("lost"))] {
            let fails = end.is_err();
            let mut body = DeadlineBody::new(StreamBody::new(stream::iter([end])), in_a_second());
            tokio::time::advance(2 * SECOND).await;
            match body.frame().await.unwrap() {
                Ok(frame) => assert!(frame.is_trailers() && !fails),
                Err(status) => assert!(status.code() == Code::DataLoss && fails),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_deadline_it_lasts() {
        let mut body = DeadlineBody::new(Silent::default(), None);
        assert!(tokio::time::timeout(1_000_000 * SECOND, body.frame()).await.is_err());
        assert!(body.sleep.is_none());
    }

    /// Ends with trailers, as a server does.
    #[derive(Clone, Copy, Default)]
    struct InTrailers;

    impl ExpiryStatus for InTrailers {
        fn status(self, when: &str) -> Status {
            Status::cancelled(when)
        }

        fn last(self, status: Status) -> Result<Frame<Bytes>, Status> {
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers)?;
            Ok(Frame::trailers(trailers))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn how_it_ends_is_for_its_expiry_to_say() {
        let mut body = DeadlineBody::with_expiry(Silent::default(), in_a_second(), InTrailers);
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Cancelled, "before the end of its response"));
        assert!(body.frame().await.is_none());
    }
}

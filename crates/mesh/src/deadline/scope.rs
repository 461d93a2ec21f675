//! The deadline of the call that a task serves, wherever its handler and its stream make calls.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

tokio::task_local! {
    static CURRENT: Instant;
}

/// The deadline of the call that this task serves; `None` outside of one, or when it has none.
pub fn current() -> Option<Instant> {
    CURRENT.try_with(|at| *at).ok()
}

/// Runs `future` with a deadline for its outgoing calls: for tasks that a handler spawns, which don't inherit its own. A
/// scope within a scope can only be shorter. It doesn't end the future itself.
pub async fn scope<F: Future>(at: Instant, future: F) -> F::Output {
    // When it is first polled, the scope around it is known.
    CURRENT.scope(shorter(at), future).await
}

fn shorter(at: Instant) -> Instant {
    current().map_or(at, |current| current.min(at))
}

/// Runs `run` as part of a call whose deadline is `at`.
pub(crate) fn within<R>(at: Option<Instant>, run: impl FnOnce() -> R) -> R {
    match at {
        Some(at) => CURRENT.sync_scope(shorter(at), run),
        None => run(),
    }
}

pin_project! {
    /// A call to a handler, made with the deadline of the incoming call: the handler, its future and the stream that it
    /// answers with have it as [`current`]. It ends nothing itself.
    #[derive(Debug)]
    pub struct ScopedFuture<F> {
        #[pin]
        future: F,
        at: Option<Instant>,
    }
}

impl<F> ScopedFuture<F> {
    /// The future that `call` makes, with the deadline `at` if there is one.
    pub(crate) fn new(at: Option<Instant>, call: impl FnOnce() -> F) -> Self {
        Self { future: within(at, call), at }
    }
}

impl<F, B, E> Future for ScopedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ScopedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let at = *this.at;
        let result = ready!(within(at, || this.future.poll(cx)));
        Poll::Ready(result.map(|response| response.map(|inner| ScopedBody { inner: Some(inner), at })))
    }
}

pin_project! {
    /// The body of a response, made with the deadline of its call.
    #[derive(Debug)]
    pub struct ScopedBody<B> {
        #[pin]
        inner: Option<B>,
        at: Option<Instant>,
    }
}

impl<B> Default for ScopedBody<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, at: None }
    }
}

impl<B: Body<Data = Bytes>> Body for ScopedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        within(*this.at, || inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

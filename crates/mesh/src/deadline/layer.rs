//! Deadlines of outgoing calls, as a tower layer over any gRPC service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::{GRPC_TIMEOUT, effective, encode_timeout};

/// Ends calls at their deadline with DEADLINE_EXCEEDED, wherever they are: before the answer, or in the middle of its
/// stream. The inner call is cancelled then. The inner service sees in `grpc-timeout` what is left.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer {
    timeout: Option<Duration>,
}

impl DeadlineLayer {
    /// Calls take at most `timeout`, if there is one; less if their own `grpc-timeout`, or the deadline of the call that the
    /// task serves, says so.
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { timeout }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, timeout: self.timeout }
    }
}

/// The service of [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct DeadlineService<S> {
    inner: S,
    timeout: Option<Duration>,
}

impl<S, A, B> Service<Request<A>> for DeadlineService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let now = Instant::now();
        let deadline = match effective(request.headers(), self.timeout, now) {
            Ok(deadline) => deadline,
            Err(status) => return DeadlineFuture { future: None, deadline: None, sleep: None, refused: Some(status) },
        };
        if let Some(at) = deadline {
            let left = at.saturating_duration_since(now);
            if left.is_zero() {
                return DeadlineFuture { future: None, deadline, sleep: None, refused: None };
            }
            request.headers_mut().insert(GRPC_TIMEOUT, encode_timeout(left));
        }
        DeadlineFuture { future: Some(self.inner.call(request)), deadline, sleep: None, refused: None }
    }
}

fn exceeded(when: &str) -> Status {
    Status::deadline_exceeded(format!("the deadline of the call passed {when}"))
}

pin_project! {
    /// The future of [`DeadlineService`].
    #[derive(Debug)]
    pub struct DeadlineFuture<F> {
        // None: refused, or over.
        #[pin]
        future: Option<F>,
        deadline: Option<Instant>,
        #[pin]
        sleep: Option<Sleep>,
        refused: Option<Status>,
    }
}

impl<F, B, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<DeadlineBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            let status = this.refused.take().unwrap_or_else(|| exceeded("before it was sent"));
            return Poll::Ready(Ok(status.into_http()));
        };
        if let Poll::Ready(result) = future.poll(cx) {
            let deadline = *this.deadline;
            return Poll::Ready(result.map(|response| response.map(|body| DeadlineBody::new(body, deadline))));
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        if this.sleep.is_none() {
            this.sleep.set(Some(tokio::time::sleep_until(deadline)));
        }
        if this.sleep.as_pin_mut().is_none_or(|sleep| sleep.poll(cx).is_pending()) {
            return Poll::Pending;
        }
        // Dropped, the inner call is cancelled.
        this.future.set(None);
        Poll::Ready(Ok(exceeded("before its answer").into_http()))
    }
}

pin_project! {
    /// A response body that ends at a deadline with DEADLINE_EXCEEDED. It takes a timer when it first has to wait.
    #[derive(Debug)]
    pub struct DeadlineBody<B> {
        // None: over.
        #[pin]
        inner: Option<B>,
        deadline: Option<Instant>,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<B> DeadlineBody<B> {
    /// Ends `inner` at `deadline`.
    pub fn new(inner: B, deadline: Option<Instant>) -> Self {
        Self { inner: Some(inner), deadline, sleep: None }
    }
}

impl<B> Default for DeadlineBody<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, deadline: None, sleep: None }
    }
}

impl<B> Body for DeadlineBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let over = match inner.poll_frame(cx) {
            // A body that never has to wait would never meet its timer.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && this.deadline.is_some_and(|at| at <= Instant::now()) => {
                true
            }
            Poll::Ready(frame) => {
                return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))));
            }
            Poll::Pending => {
                let Some(deadline) = *this.deadline else { return Poll::Pending };
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                sleep.as_mut().poll(cx).is_ready()
            }
        };
        if !over {
            return Poll::Pending;
        }
        // Dropped, the inner call is cancelled.
        this.inner.set(None);
        *this.sleep = None;
        Poll::Ready(Some(Err(exceeded("before the end of its response"))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

//! The deadline of a call, on the server: it ends the work, in the middle of a stream too.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::Domain;
use super::body::trailers;
use crate::deadline::{GRPC_TIMEOUT, parse_timeout, within};

/// Ends calls at their deadline with DEADLINE_EXCEEDED, before the answer or in the middle of its stream; the handler's work
/// is cancelled. Meanwhile [`crate::deadline::current`] tells handler and stream the deadline, and calls that they make
/// through a [`Channel`](crate::Channel) end by it.
///
/// The deadline is what `grpc-timeout` says, or the layer's own bound when that is earlier. A malformed `grpc-timeout` is
/// answered with INTERNAL. tonic's own server timeout knows no streams, and answers CANCELLED.
#[derive(Clone, Debug, Default)]
pub struct ServerDeadlineLayer {
    max: Option<Duration>,
    domain: Domain,
}

impl ServerDeadlineLayer {
    /// Calls take at most `max`, if there is one, streams among them; errors carry `domain`.
    pub fn new(max: Option<Duration>, domain: Domain) -> Self {
        Self { max, domain }
    }
}

impl<S> Layer<S> for ServerDeadlineLayer {
    type Service = ServerDeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerDeadlineService { inner, layer: self.clone() }
    }
}

/// The service of [`ServerDeadlineLayer`].
#[derive(Clone, Debug)]
pub struct ServerDeadlineService<S> {
    inner: S,
    layer: ServerDeadlineLayer,
}

impl<S, A, B> Service<Request<A>> for ServerDeadlineService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<ServerDeadlineBody<B>>;
    type Error = S::Error;
    type Future = ServerDeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let said = match request.headers().get(GRPC_TIMEOUT).map(parse_timeout).transpose() {
            Ok(said) => said,
            Err(error) => {
                let status = self.layer.domain.refuse(
                    Code::Internal,
                    "INVALID_TIMEOUT",
                    error.to_string(),
                    &[("header", "grpc-timeout")],
                );
                return ServerDeadlineFuture { future: None, limit: None, sleep: None, refused: Some(status) };
            }
        };
        let timeout = match (said, self.layer.max) {
            (Some(said), Some(max)) => Some(said.min(max)),
            (said, max) => said.or(max),
        };
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            let status = exceeded(self.layer.domain, "before it began");
            return ServerDeadlineFuture { future: None, limit: None, sleep: None, refused: Some(status) };
        }
        let future = within(at, || self.inner.call(request));
        let limit = at.map(|at| Limit { at, domain: self.layer.domain });
        ServerDeadlineFuture { future: Some(future), limit, sleep: None, refused: None }
    }
}

#[derive(Debug)]
struct Limit {
    at: Instant,
    domain: Domain,
}

impl Limit {
    fn exceeded(&self, when: &str) -> Status {
        exceeded(self.domain, when)
    }
}

fn exceeded(domain: Domain, when: &str) -> Status {
    let message = format!("the deadline of the call passed {when}");
    domain.refuse(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message, &[])
}

pin_project! {
    /// The future of [`ServerDeadlineService`]. It takes a timer when it first has to wait.
    #[derive(Debug)]
    pub struct ServerDeadlineFuture<F> {
        // None: refused, or over.
        #[pin]
        future: Option<F>,
        limit: Option<Limit>,
        sleep: Option<Pin<Box<Sleep>>>,
        refused: Option<Status>,
    }
}

impl<F, B, E> Future for ServerDeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ServerDeadlineBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            let status = this.refused.take().unwrap_or_else(|| Status::internal("polled after its end"));
            return Poll::Ready(Ok(status.into_http()));
        };
        let at = this.limit.as_ref().map(|limit| limit.at);
        if let Poll::Ready(result) = within(at, || future.poll(cx)) {
            let limit = this.limit.take();
            return Poll::Ready(
                result.map(|response| {
                    response.map(|inner| ServerDeadlineBody { inner: Some(inner), limit, sleep: None })
                }),
            );
        }
        let Some(limit) = this.limit.as_ref() else { return Poll::Pending };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(limit.at)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let status = limit.exceeded("before its answer");
        // Dropped, the work is cancelled.
        this.future.set(None);
        Poll::Ready(Ok(status.into_http()))
    }
}

pin_project! {
    /// A response body that ends at a deadline with DEADLINE_EXCEEDED in its trailers.
    #[derive(Debug)]
    pub struct ServerDeadlineBody<B> {
        // None: over, or there is none.
        #[pin]
        inner: Option<B>,
        limit: Option<Limit>,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<B> Default for ServerDeadlineBody<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, limit: None, sleep: None }
    }
}

impl<B: Body<Data = Bytes>> Body for ServerDeadlineBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let Some(limit) = this.limit.as_ref() else { return inner.poll_frame(cx) };
        let over = match within(Some(limit.at), || inner.poll_frame(cx)) {
            // A stream that never has to wait would never meet its timer.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                if limit.at > Instant::now() {
                    return Poll::Ready(Some(Ok(frame)));
                }
                true
            }
            Poll::Ready(polled) => return Poll::Ready(polled),
            Poll::Pending => {
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(limit.at)));
                sleep.as_mut().poll(cx).is_ready()
            }
        };
        if !over {
            return Poll::Pending;
        }
        let status = limit.exceeded("before the end of its response");
        // Dropped, the work is cancelled.
        this.inner.set(None);
        *this.sleep = None;
        Poll::Ready(Some(Ok(trailers(&status))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

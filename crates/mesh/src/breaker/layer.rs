//! A circuit breaker as a tower layer over any gRPC service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Status;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::{Admission, Breaker};
use crate::limit::HeldBody;
use crate::outcome::{Finish, Outcome, TrackedBody, grpc_status};
use crate::policy::CircuitBreaker;

/// Stops calls to a service that fails too often: they are answered with UNAVAILABLE at once.
///
/// All services of one layer, and their clones, share one breaker. Readiness is that of the inner service. A deadline speaks
/// against the service when there was no answer for a second; whether a request was withheld can't be seen here.
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer {
    breaker: Breaker,
}

impl CircuitBreakerLayer {
    /// A layer with a closed breaker.
    pub fn new(policy: CircuitBreaker) -> Self {
        Self::with_breaker(Breaker::new(policy))
    }

    /// A layer with a breaker that others may share.
    pub fn with_breaker(breaker: Breaker) -> Self {
        Self { breaker }
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<S> Layer<S> for CircuitBreakerLayer {
    type Service = CircuitBreakerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService { inner, breaker: self.breaker.clone() }
    }
}

/// The service of [`CircuitBreakerLayer`].
#[derive(Clone, Debug)]
pub struct CircuitBreakerService<S> {
    inner: S,
    breaker: Breaker,
}

impl<S, A, B> Service<Request<A>> for CircuitBreakerService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<StdError>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Response = Response<TrackedBody<HeldBody<B, ()>, Judge>>;
    type Error = StdError;
    type Future = BreakerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let started = Instant::now();
        let admission = self.breaker.admit(started);
        if let Admission::Rejected { .. } = admission {
            return BreakerFuture { future: None, judge: None };
        }
        // Made before the call: it gives a probe back even if the inner service panics.
        let judge = Judge { breaker: self.breaker.clone(), admission: Some(admission), started, answered: false };
        BreakerFuture { future: Some(self.inner.call(request)), judge: Some(judge) }
    }
}

/// Tells the breaker how a call ended; dropped first, the call was cancelled.
#[derive(Debug)]
pub struct Judge {
    breaker: Breaker,
    /// None once it has reported.
    admission: Option<Admission>,
    started: Instant,
    /// Whether the response has begun: how long its stream may last is for the caller to say.
    answered: bool,
}

impl Finish for Judge {
    fn finish(mut self, outcome: Outcome) {
        if let Some(admission) = self.admission.take() {
            let now = Instant::now();
            let outcome = match outcome {
                Outcome::Status(code) => {
                    let waited = (!self.answered).then(|| now.saturating_duration_since(self.started));
                    Outcome::of(code, waited, None)
                }
                outcome => outcome,
            };
            self.breaker.settle(now, admission, outcome);
        }
    }
}

pin_project! {
    /// The future of [`CircuitBreakerService`].
    #[derive(Debug)]
    pub struct BreakerFuture<F> {
        // None: rejected.
        #[pin]
        future: Option<F>,
        judge: Option<Judge>,
    }
}

impl<F, B, E> Future for BreakerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<StdError>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Output = Result<Response<TrackedBody<HeldBody<B, ()>, Judge>>, StdError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            let status = Status::unavailable("the circuit breaker is open: too many calls failed");
            return Poll::Ready(Ok(status.into_http::<HeldBody<B, ()>>().map(TrackedBody::untracked)));
        };
        let result = ready!(future.poll(cx));
        // The future is over; what it holds is not needed for the body.
        let judge = this.judge.take();
        Poll::Ready(match (result, judge) {
            (Ok(response), Some(mut judge)) => {
                judge.answered = grpc_status(response.headers()).is_none();
                Ok(TrackedBody::respond(response.map(|body| HeldBody::new(body, ())), judge))
            }
            (Ok(response), None) => Ok(response.map(|body| TrackedBody::untracked(HeldBody::new(body, ())))),
            (Err(error), judge) => {
                let error = error.into();
                if let Some(judge) = judge {
                    judge.finish(Outcome::Status(code_of(&error)));
                }
                Err(error)
            }
        })
    }
}

/// The code that a caller would see for `error`.
fn code_of(error: &StdError) -> tonic::Code {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = cause {
        if let Some(status) = error.downcast_ref::<Status>() {
            return status.code();
        }
        cause = error.source();
    }
    tonic::Code::Unknown
}

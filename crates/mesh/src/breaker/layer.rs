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

use super::admitted::AdmittedCall;
use super::{Admission, Breaker};
use crate::bodies::{Finish as _, TrackedBody};
use crate::outcome::{Outcome, grpc_status};
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
    type Response = Response<TrackedBody<B, AdmittedCall>>;
    type Error = StdError;
    type Future = BreakerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let started = Instant::now();
        let admission = self.breaker.admit(started);
        if let Admission::Rejected { .. } = admission {
            return BreakerFuture { future: None, admitted: None };
        }
        // Made before the call: it gives a probe back even if the inner service panics.
        let admitted = AdmittedCall::new(self.breaker.clone(), admission, started);
        BreakerFuture { future: Some(self.inner.call(request)), admitted: Some(admitted) }
    }
}

pin_project! {
    /// The future of [`CircuitBreakerService`].
    #[derive(Debug)]
    pub struct BreakerFuture<F> {
        // None: rejected.
        #[pin]
        future: Option<F>,
        admitted: Option<AdmittedCall>,
    }
}

impl<F, B, E> Future for BreakerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<StdError>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Output = Result<Response<TrackedBody<B, AdmittedCall>>, StdError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            let status = Status::unavailable("the circuit breaker is open: too many calls failed");
            return Poll::Ready(Ok(status.into_http()));
        };
        let result = ready!(future.poll(cx));
        // The future is over; what it holds is not needed for the body.
        let admitted = this.admitted.take();
        Poll::Ready(match (result, admitted) {
            (Ok(response), Some(mut admitted)) => {
                if grpc_status(response.headers()).is_none() {
                    admitted.answered();
                }
                Ok(TrackedBody::respond(response, admitted))
            }
            (Ok(response), None) => Ok(response.map(TrackedBody::untracked)),
            (Err(error), admitted) => {
                let error: StdError = error.into();
                if let Some(admitted) = admitted {
                    admitted.finish(Outcome::of_error(&*error));
                }
                Err(error)
            }
        })
    }
}

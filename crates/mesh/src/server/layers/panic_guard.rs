//! A handler that panics fails its own call and nothing else.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use crate::server::Domain;
use crate::server::body::trailers;
use crate::server::panics::{drop_quietly, report_panic};

/// Answers INTERNAL when a handler panics, or the stream that it answers with; logs the panic's message, which the caller
/// doesn't see. The process lives (built with `panic = "unwind"`).
#[derive(Clone, Debug, Default)]
pub struct PanicGuardLayer {
    domain: Domain,
}

impl PanicGuardLayer {
    /// Guards; errors carry `domain`.
    pub fn new(domain: Domain) -> Self {
        Self { domain }
    }
}

impl<S> Layer<S> for PanicGuardLayer {
    type Service = PanicGuardService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PanicGuardService { inner, domain: self.domain }
    }
}

/// The service of [`PanicGuardLayer`].
#[derive(Clone, Debug)]
pub struct PanicGuardService<S> {
    inner: S,
    domain: Domain,
}

impl<S, A, B> Service<Request<A>> for PanicGuardService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<PanicGuardBody<B>>;
    type Error = S::Error;
    type Future = PanicGuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        // After a panic in `call` the service is used again: gRPC services keep nothing half done between calls.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => PanicGuardFuture { future: Some(future), panicked: None, domain: self.domain },
            Err(panic) => PanicGuardFuture {
                future: None,
                panicked: Some(report_panic(self.domain, &*panic)),
                domain: self.domain,
            },
        }
    }
}

pin_project! {
    /// The future of [`PanicGuardService`].
    #[derive(Debug)]
    pub struct PanicGuardFuture<F> {
        // None: it has panicked.
        #[pin]
        future: Option<F>,
        panicked: Option<Status>,
        domain: Domain,
    }
}

impl<F, B, E> Future for PanicGuardFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<PanicGuardBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(result)) => {
                    let domain = *this.domain;
                    return Poll::Ready(
                        result.map(|response| response.map(|inner| PanicGuardBody { inner: Some(inner), domain })),
                    );
                }
                Err(panic) => {
                    *this.panicked = Some(report_panic(*this.domain, &*panic));
                    drop_quietly(|| this.future.set(None));
                }
            }
        }
        let status = this.panicked.take().unwrap_or_else(|| Status::internal("polled after its end"));
        Poll::Ready(Ok(status.into_http()))
    }
}

pin_project! {
    /// A response body whose panic ends it with INTERNAL in its trailers.
    #[derive(Debug)]
    pub struct PanicGuardBody<B> {
        // None: it has panicked, or there is none.
        #[pin]
        inner: Option<B>,
        domain: Domain,
    }
}

impl<B> Default for PanicGuardBody<B> {
    /// No body.
    fn default() -> Self {
        Self { inner: None, domain: Domain::default() }
    }
}

impl<B: Body<Data = Bytes>> Body for PanicGuardBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| inner.poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                let status = report_panic(*this.domain, &*panic);
                drop_quietly(|| this.inner.set(None));
                Poll::Ready(Some(Ok(trailers(&status))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

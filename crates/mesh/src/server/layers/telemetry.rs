//! The hook that sees every call of a server: those too that a layer refuses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Code;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use crate::bodies::{Finish, TrackedBody};
use crate::outcome::Outcome;
use crate::server::Peer;
use crate::server::call_observer::{CallEnd, CallObserver, IncomingCall};

/// Shows each call to a [`CallObserver`], if there is one.
#[derive(Clone, Default)]
pub struct TelemetryLayer {
    observer: Option<Arc<dyn CallObserver>>,
}

impl TelemetryLayer {
    /// Tells `observer`.
    pub fn new(observer: Arc<dyn CallObserver>) -> Self {
        Self { observer: Some(observer) }
    }
}

impl fmt::Debug for TelemetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryLayer").field("observer", &self.observer.is_some()).finish()
    }
}

impl<S> Layer<S> for TelemetryLayer {
    type Service = TelemetryService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TelemetryService { inner, observer: self.observer.clone() }
    }
}

/// The service of [`TelemetryLayer`].
#[derive(Clone)]
pub struct TelemetryService<S> {
    inner: S,
    observer: Option<Arc<dyn CallObserver>>,
}

impl<S, A, B> Service<Request<A>> for TelemetryService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Response = Response<TrackedBody<B, CallTracker>>;
    type Error = S::Error;
    type Future = TelemetryFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let tracker = self.observer.as_ref().map(|observer| {
            let peer = request.extensions().get::<Peer>();
            observer.began(&IncomingCall { path: request.uri().path(), peer });
            let (began, uri, peer) = (Instant::now(), request.uri().clone(), peer.cloned());
            CallTracker(Some(Box::new(TrackedCall { observer: Arc::clone(observer), began, uri, peer })))
        });
        TelemetryFuture { future: self.inner.call(request), tracker }
    }
}

/// Follows a call to its end; dropped before it, the call was cancelled. It is moved with the call through all layers, so that
/// it is small.
pub struct CallTracker(Option<Box<TrackedCall>>);

struct TrackedCall {
    observer: Arc<dyn CallObserver>,
    began: Instant,
    uri: Uri,
    peer: Option<Peer>,
}

impl CallTracker {
    fn end(&mut self, code: Code) {
        if let Some(call) = self.0.take() {
            let TrackedCall { observer, began, uri, peer } = *call;
            let call = IncomingCall { path: uri.path(), peer: peer.as_ref() };
            observer.ended(&call, &CallEnd { code, took: began.elapsed() });
        }
    }
}

impl Finish for CallTracker {
    fn finish(mut self, outcome: Outcome) {
        self.end(outcome.code());
    }
}

impl Drop for CallTracker {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

pin_project! {
    /// The future of [`TelemetryService`].
    pub struct TelemetryFuture<F> {
        #[pin]
        future: F,
        tracker: Option<CallTracker>,
    }
}

impl<F, B, E> Future for TelemetryFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Output = Result<Response<TrackedBody<B, CallTracker>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        Poll::Ready(match (result, this.tracker.take()) {
            (Ok(response), Some(tracker)) => Ok(TrackedBody::respond(response, tracker)),
            (Ok(response), None) => Ok(response.map(TrackedBody::untracked)),
            (Err(error), tracker) => {
                if let Some(tracker) = tracker {
                    tracker.finish(Outcome::Status(Code::Unknown));
                }
                Err(error)
            }
        })
    }
}

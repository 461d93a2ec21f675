//! Calls in flight on a server: what is above the limit is refused at once, so that what is below it stays quick.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::methods::StreamingMethods;
use super::streams::{StreamBudget, StreamPlace};
use super::{Domain, exempt};
use crate::bodies::{Finish, TrackedBody};
use crate::outcome::Outcome;

/// When a caller that was refused may come again: by then a server of this kind has worked off many calls.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A limit of the calls in flight on a server. Clones are the same limit.
#[derive(Clone, Debug)]
pub struct LoadShed(Arc<Count>);

#[derive(Debug)]
struct Count {
    limit: usize,
    in_flight: AtomicUsize,
    refused: AtomicU64,
}

impl LoadShed {
    /// At most `limit` calls at once. Streams count to their end, unless the layer has a budget for them.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Count { limit, in_flight: AtomicUsize::new(0), refused: AtomicU64::new(0) }))
    }

    /// The calls in flight.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Acquire)
    }

    /// How many calls were refused since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    fn try_acquire(&self) -> Option<CallPlace> {
        let more = |now: usize| (now < self.0.limit).then_some(now + 1);
        match self.0.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more) {
            Ok(_) => Some(CallPlace(Arc::clone(&self.0))),
            Err(_) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// The place of one call or stream; dropped at the end of its response, it is free again.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "counts while it lives")] Held);

impl Finish for Place {
    /// Gives the place back.
    fn finish(self, _: Outcome) {}
}

#[derive(Debug)]
enum Held {
    Call(#[expect(dead_code, reason = "counts while it lives")] CallPlace),
    Stream(#[expect(dead_code, reason = "counts while it lives")] StreamPlace),
}

#[derive(Debug)]
struct CallPlace(Arc<Count>);

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Refuses calls above a [`LoadShed`] limit with UNAVAILABLE, before any work was done for them: a client that retries goes to
/// another server. Nothing waits: a queue in front of a server that is too slow only makes every answer late. Health checks
/// pass. By default there is no limit.
///
/// Streams last, so that they would take the places of all calls; with [`LoadShedLayer::streams`] they have a budget of their
/// own, and who is above it is refused with RESOURCE_EXHAUSTED.
#[derive(Clone, Debug, Default)]
pub struct LoadShedLayer {
    limit: Option<LoadShed>,
    streams: Option<(StreamBudget, StreamingMethods)>,
    domain: Domain,
}

impl LoadShedLayer {
    /// Holds calls to `limit`; errors carry `domain`.
    pub fn new(limit: LoadShed, domain: Domain) -> Self {
        Self { limit: Some(limit), streams: None, domain }
    }

    /// Counts the streams of `methods` in `budget` instead; errors carry `domain`.
    #[must_use]
    pub fn streams(self, budget: StreamBudget, methods: StreamingMethods, domain: Domain) -> Self {
        Self { streams: Some((budget, methods)), domain, ..self }
    }

    /// A place for the call, if it needs one.
    fn place<A>(&self, request: &Request<A>) -> Result<Option<Place>, Status> {
        let path = request.uri().path();
        if exempt::is_health_check(path) {
            return Ok(None);
        }
        if let Some((budget, methods)) = &self.streams
            && methods.is_stream(path)
        {
            return budget.acquire(request, self.domain).map(|place| Some(Place(Held::Stream(place))));
        }
        match &self.limit {
            None => Ok(None),
            Some(limit) => match limit.try_acquire() {
                Some(place) => Ok(Some(Place(Held::Call(place)))),
                None => Err(self.overloaded()),
            },
        }
    }

    fn overloaded(&self) -> Status {
        let message = "the server has as many calls in flight as it can serve well; try another one, or later";
        // No pushback: it would hold back the retry that another server could answer at once.
        self.domain.refuse_for(RETRY_AFTER, Code::Unavailable, "OVERLOADED", message, &[])
    }
}

impl<S> Layer<S> for LoadShedLayer {
    type Service = LoadShedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadShedService { inner, layer: self.clone() }
    }
}

/// The service of [`LoadShedLayer`].
#[derive(Clone, Debug)]
pub struct LoadShedService<S> {
    inner: S,
    layer: LoadShedLayer,
}

impl<S, A, B> Service<Request<A>> for LoadShedService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
{
    type Response = Response<TrackedBody<B, Place>>;
    type Error = S::Error;
    type Future = LoadShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.layer.place(&request) {
            Ok(place) => LoadShedFuture { future: Some(self.inner.call(request)), place, refused: None },
            Err(status) => LoadShedFuture { future: None, place: None, refused: Some(status) },
        }
    }
}

pin_project! {
    /// The future of [`LoadShedService`].
    #[derive(Debug)]
    pub struct LoadShedFuture<F> {
        // None: refused.
        #[pin]
        future: Option<F>,
        place: Option<Place>,
        refused: Option<Status>,
    }
}

impl<F, B, E> Future for LoadShedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<TrackedBody<B, Place>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            let status = this.refused.take().unwrap_or_else(|| Status::internal("polled after its end"));
            return Poll::Ready(Ok(status.into_http()));
        };
        let result = ready!(future.poll(cx));
        let place = this.place.take();
        Poll::Ready(result.map(|response| match place {
            Some(place) => TrackedBody::respond(response, place),
            None => response.map(TrackedBody::untracked),
        }))
    }
}

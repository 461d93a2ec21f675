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

use super::{Domain, exempt};
use crate::limit::HeldBody;

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
    /// At most `limit` calls at once; streams count to their end.
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

    fn try_acquire(&self) -> Option<Place> {
        let more = |now: usize| (now < self.0.limit).then_some(now + 1);
        match self.0.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more) {
            Ok(_) => Some(Place(Arc::clone(&self.0))),
            Err(_) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// The place of one call; dropped at the end of its response, it is free again.
#[derive(Debug)]
pub struct Place(Arc<Count>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Refuses calls above a [`LoadShed`] limit with UNAVAILABLE, before any work was done for them: a client that retries goes to
/// another server. Nothing waits: a queue in front of a server that is too slow only makes every answer late. Health checks
/// pass. By default there is no limit.
#[derive(Clone, Debug, Default)]
pub struct LoadShedLayer {
    limit: Option<LoadShed>,
    domain: Domain,
}

impl LoadShedLayer {
    /// Holds calls to `limit`; errors carry `domain`.
    pub fn new(limit: LoadShed, domain: Domain) -> Self {
        Self { limit: Some(limit), domain }
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
    type Response = Response<HeldBody<B, Option<Place>>>;
    type Error = S::Error;
    type Future = LoadShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let place = match &self.layer.limit {
            Some(limit) if !exempt::is_health_check(request.uri().path()) => match limit.try_acquire() {
                Some(place) => Some(place),
                None => return LoadShedFuture { future: None, place: None, refused: Some(self.layer.overloaded()) },
            },
            _ => None,
        };
        LoadShedFuture { future: Some(self.inner.call(request)), place, refused: None }
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
    type Output = Result<Response<HeldBody<B, Option<Place>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else {
            let status = this.refused.take().unwrap_or_else(|| Status::internal("polled after its end"));
            return Poll::Ready(Ok(status.into_http()));
        };
        let result = ready!(future.poll(cx));
        let place = this.place.take();
        Poll::Ready(result.map(|response| response.map(|body| HeldBody::new(body, place))))
    }
}

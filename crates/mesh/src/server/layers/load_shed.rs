//! Calls and streams in flight on a server: what is above the limits is refused at once, so that what is below them
//! stays quick.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use crate::bodies::{Finish, TrackedBody};
use crate::outcome::Outcome;
use crate::server::auth::Principal;
use crate::server::budget::{Budgets, Caller, Hold};
use crate::server::plan::{Exemption, StreamingMethods};
use crate::server::{Domain, Peer};

/// The place of one call or stream; dropped at the end of its response, it is free again.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "counts while it lives")] Hold);

impl Finish for Place {
    /// Gives the place back.
    fn finish(self, _: Outcome) {}
}

/// Refuses calls above the limits of [`Budgets`], before any work was done for them. Nothing waits: a queue in front of
/// a server that is too slow only makes every answer late. By default there is no limit.
///
/// Calls count as [`Resource::Calls`](crate::server::Resource::Calls); those of methods that stream, which last, as
/// [`Resource::Streams`](crate::server::Resource::Streams); health's `Watch` and reflection, which are open to everybody, as
/// [`Resource::Watches`](crate::server::Resource::Watches). Other health checks pass. Callers are told apart by [`Peer`] and [`Principal`] in
/// the request's extensions.
///
/// Above what the server can serve, a call is refused with UNAVAILABLE, so that a client that retries goes to another
/// server; all else is refused with RESOURCE_EXHAUSTED.
#[derive(Clone, Debug, Default)]
pub struct LoadShedLayer {
    budgets: Option<Budgets>,
    methods: StreamingMethods,
    domain: Domain,
}

impl LoadShedLayer {
    /// Holds calls to `budgets`; `methods` are those that stream, and errors carry `domain`.
    pub fn new(budgets: Budgets, methods: StreamingMethods, domain: Domain) -> Self {
        Self { budgets: Some(budgets), methods, domain }
    }

    /// A place for the call, if it needs one.
    fn place<A>(&self, request: &Request<A>) -> Result<Option<Place>, Status> {
        let Some(budgets) = &self.budgets else { return Ok(None) };
        let path = request.uri().path();
        let Some(resource) = Exemption::of(path).resource(self.methods.find(path)) else { return Ok(None) };
        let extensions = request.extensions();
        let network = extensions.get::<Peer>().and_then(Peer::network_key);
        let address = network.map(|network| budgets.account_of_address(network));
        let principal = extensions.get::<Principal>();
        let principal = principal.map(|principal| budgets.account_of_principal(principal.subject()));
        let caller = Caller { address: address.as_ref(), principal: principal.as_ref() };
        match budgets.take(resource, 1, caller) {
            Ok(hold) => Ok(Some(Place(hold))),
            Err(exceeded) => Err(exceeded.status(self.domain)),
        }
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;
    use tonic_types::StatusExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::server::budget::{CallerLimits, Limits, Resource};

    const WATCH: &str = "/grpc.health.v1.Health/Watch";

    type Answer = Response<TrackedBody<tonic::body::Body, Place>>;

    async fn call(layer: &LoadShedLayer, path: &str, name: Option<&str>) -> Result<Answer, (Code, String)> {
        let handler = tower::service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(tonic::body::Body::new(http_body_util::Full::new(Bytes::from("answer")))))
        });
        let mut request = Request::builder().uri(path).body(()).unwrap();
        request.extensions_mut().insert(Peer::at(Some(([127, 0, 0, 1], 1).into())));
        if let Some(name) = name {
            request.extensions_mut().insert(Principal::new(name, ["customer"]));
        }
        let response = layer.layer(handler).oneshot(request).await.unwrap();
        match Status::from_header_map(response.headers()) {
            None => Ok(response),
            Some(status) => Err((status.code(), status.get_details_error_info().unwrap().reason)),
        }
    }

    fn refused(code: Code, reason: &str) -> Option<(Code, String)> {
        Some((code, reason.to_owned()))
    }

    #[tokio::test]
    async fn s2_s3_calls_streams_and_watches_take_no_places_of_each_other() {
        let one = CallerLimits { total: 1, ..CallerLimits::default() };
        let counted = [Resource::Calls, Resource::Streams, Resource::Watches];
        let limits = counted.into_iter().fold(Limits::default(), |limits, resource| limits.with(resource, one));
        let budgets = Budgets::new(limits);
        let methods = StreamingMethods::from_iter(["/s/Stream"]);
        let layer = LoadShedLayer::new(budgets.clone(), methods, Domain::default());
        let first = call(&layer, "/s/Call", None).await.unwrap();
        let others = (call(&layer, "/s/Stream", None).await.unwrap(), call(&layer, WATCH, None).await.unwrap());
        assert_eq!(call(&layer, "/s/Call", None).await.err(), refused(Code::Unavailable, "OVERLOADED"));
        let status = call(&layer, "/s/Stream", None).await.err();
        assert_eq!(status, refused(Code::ResourceExhausted, "TOO_MANY_STREAMS"));
        assert_eq!(call(&layer, WATCH, None).await.err(), refused(Code::ResourceExhausted, "TOO_MANY_WATCHES"));
        call(&layer, "/grpc.health.v1.Health/Check", None).await.expect("a check passes");
        assert_eq!(counted.map(|resource| budgets.in_use(resource)), [1; 3]);
        assert_eq!(counted.map(|resource| budgets.refused(resource)), [1; 3]);
        drop(first);
        call(&layer, "/s/Call", None).await.expect("a place is free again");
        drop(others);
        assert_eq!(counted.map(|resource| budgets.in_use(resource)), [0; 3]);
    }

    #[tokio::test]
    async fn callers_count_by_principal_and_address() {
        let calls = CallerLimits { per_principal: 1, per_address: 3, ..CallerLimits::default() };
        let budgets = Budgets::new(Limits::default().with(Resource::Calls, calls));
        let layer = LoadShedLayer::new(budgets, StreamingMethods::default(), Domain::default());
        let _open = (
            call(&layer, "/s/Call", Some("anna")).await.unwrap(),
            call(&layer, "/s/Call", Some("bert")).await.unwrap(),
        );
        let too_many = refused(Code::ResourceExhausted, "TOO_MANY_CALLS");
        assert_eq!(call(&layer, "/s/Call", Some("anna")).await.err(), too_many);
        let _stranger = call(&layer, "/s/Call", None).await.expect("the last of the address");
        assert_eq!(call(&layer, "/s/Call", Some("carl")).await.err(), too_many);
    }

    #[tokio::test]
    async fn without_budgets_all_calls_pass() {
        call(&LoadShedLayer::default(), "/s/Call", None).await.unwrap();
    }
}

//! From a path to the service that answers it.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use foldhash::fast::RandomState;
use futures_util::future::{BoxFuture, Either};
use futures_util::task::noop_waker_ref;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::util::ServiceExt as _;
use tower_service::Service;

/// How many characters of a path that leads nowhere are shown.
const SHOWN: usize = 64;

/// What answers the calls of a service, or of all that no service has.
pub(in crate::server) type Route = Arc<dyn Handler>;

/// The answer to a call, in the box that generated services make themselves.
pub(in crate::server) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// The services of a server, by name: what a [`layer`](super::Builder::layer) of one's own wraps. Clones share them.
///
/// The paths of gRPC have two parts, a service and a method; so the service is found by one look into a map, and gets
/// the request as it is.
#[derive(Clone, Debug, Default)]
pub struct Router(Arc<Routes>);

#[derive(Clone, Default)]
struct Routes {
    /// By full name, `package.Service`.
    services: HashMap<&'static str, Route, RandomState>,
    fallback: Option<Route>,
}

/// A service whose type nobody needs to know.
pub(in crate::server) trait Handler: Send + Sync {
    fn call(&self, request: Request<Body>) -> Answer;

    /// Whether it may have the method at `path`, so that it isn't open to everybody by being named nowhere.
    fn has(&self, path: &str) -> bool;
}

/// A service of its name.
struct ServiceHandler<S>(S);

impl<S> Handler for ServiceHandler<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request<Body>) -> Answer {
        answer(&self.0, request)
    }

    fn has(&self, _: &str) -> bool {
        true
    }
}

/// A service for whatever no other has, and what it has of that.
struct FallbackHandler<S, F> {
    service: S,
    has: F,
}

impl<S, F> Handler for FallbackHandler<S, F>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    F: Fn(&str) -> bool + Send + Sync,
{
    fn call(&self, request: Request<Body>) -> Answer {
        answer(&self.service, request)
    }

    fn has(&self, path: &str) -> bool {
        (self.has)(path)
    }
}

fn answer<S>(service: &S, request: Request<Body>) -> Answer
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let mut service = service.clone();
    // The services that tonic generates are ready at once; one that isn't is waited for.
    match service.poll_ready(&mut Context::from_waker(noop_waker_ref())) {
        Poll::Ready(Ok(())) => boxed(service.call(request)),
        Poll::Pending => Box::pin(service.oneshot(request)),
    }
}

/// Puts a future into a box, unless it is one already.
fn boxed<F>(future: F) -> Answer
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let mut future = Some(future);
    let answer = (&mut future as &mut dyn Any).downcast_mut::<Option<Answer>>().and_then(Option::take);
    match (answer, future) {
        (Some(answer), _) => answer,
        (None, Some(future)) => Box::pin(future),
        // What isn't taken is there.
        (None, None) => Box::pin(ready(Ok(Status::internal("the service gave no answer").into_http()))),
    }
}

/// The service of a method's path, `/package.Service/Method`.
pub(in crate::server) fn service_of(path: &str) -> Option<&str> {
    Some(path.strip_prefix('/')?.split_once('/')?.0)
}

impl Router {
    /// Adds a service; a second one of its name takes its place.
    pub(in crate::server) fn add<S>(&mut self, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.add_route(S::NAME, Arc::new(ServiceHandler(service)));
    }

    /// Adds what answers the calls of the service `name`.
    pub(in crate::server) fn add_route(&mut self, name: &'static str, route: Route) {
        Arc::make_mut(&mut self.0).services.insert(name, route);
    }

    /// Answers what no service has a name for. With an access table, a call whose path the table doesn't name and of
    /// which `has` is true is refused.
    pub(in crate::server) fn set_fallback<S>(&mut self, service: S, has: impl Fn(&str) -> bool + Send + Sync + 'static)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Arc::make_mut(&mut self.0).fallback = Some(Arc::new(FallbackHandler { service, has }));
    }

    /// What answers the method at `path`: its service, or else the fallback.
    pub(in crate::server) fn route(&self, path: &str) -> Option<Route> {
        self.find(path).cloned()
    }

    /// The names of the services; those of the fallback are not known.
    pub(in crate::server) fn services(&self) -> impl Iterator<Item = &'static str> {
        self.0.services.keys().copied()
    }

    /// The status of a call that nothing here answers.
    pub(in crate::server) fn unknown(path: &str) -> Status {
        // Callers choose the path: its beginning says which it was.
        let path: String = path.chars().take(SHOWN).collect();
        Status::unimplemented(format!("there is no method {path} here"))
    }

    fn find(&self, path: &str) -> Option<&Route> {
        let found = service_of(path).and_then(|service| self.0.services.get(service));
        found.or(self.0.fallback.as_ref())
    }
}

impl Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Answer, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Behind a user's layers the pipeline knows the route already. It isn't sent along: an extension of the request would
        // cost an allocation, and a route in it a count that all cores share, which is more than this look; and a layer may
        // have changed the path.
        match self.find(request.uri().path()) {
            Some(service) => Either::Left(service.call(request)),
            None => Either::Right(ready(Ok(Self::unknown(request.uri().path()).into_http()))),
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut services: Vec<_> = self.services.keys().collect();
        services.sort_unstable();
        f.debug_struct("Routes").field("services", &services).field("fallback", &self.fallback.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tonic::Code;
    use tower::service_fn;

    use super::*;
    use crate::outcome::grpc_status;

    #[derive(Clone)]
    struct Greeter;

    impl NamedService for Greeter {
        const NAME: &'static str = "a.v1.Greeter";
    }

    impl Service<Request<Body>> for Greeter {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Ok(Status::ok("named").into_http()))
        }
    }

    fn code(router: &Router, path: &str) -> Option<Code> {
        let request = Request::post(path).body(Body::empty()).unwrap();
        let response = router.clone().call(request).now_or_never().unwrap().unwrap();
        grpc_status(response.headers())
    }

    #[test]
    fn a_call_goes_to_the_service_of_its_path_and_else_to_the_fallback() {
        let mut router = Router::default();
        router.add(Greeter);
        let others = [
            "/",
            "/a.v1.Greeter",
            "/a.v1.Greeter2/Get",
            "/A.v1.Greeter/Get",
            "//a.v1.Greeter/Get",
            "/x/a.v1.Greeter/Get",
            "*",
        ];
        for path in ["/a.v1.Greeter/Get", "/a.v1.Greeter/", "/a.v1.Greeter/Get/more"] {
            assert_eq!(code(&router, path), Some(Code::Ok), "{path}");
        }
        for path in others {
            assert_eq!(code(&router, path), Some(Code::Unimplemented), "{path}");
        }
        router.set_fallback(service_fn(async |_: Request<Body>| Ok(Status::aborted("fallback").into_http())), |_| true);
        assert_eq!(code(&router, "/a.v1.Greeter/Get"), Some(Code::Ok));
        for path in others {
            assert_eq!(code(&router, path), Some(Code::Aborted), "{path}");
        }
    }

    #[test]
    fn a_fallback_tells_what_it_has_and_a_service_has_everything_of_its_name() {
        let mut router = Router::default();
        assert!(router.route("/a.v1.Greeter/Get").is_none());
        router.add(Greeter);
        assert_eq!(router.services().collect::<Vec<_>>(), ["a.v1.Greeter"]);
        let earlier = router.clone();
        let service = service_fn(async |_: Request<Body>| Ok(Status::aborted("fallback").into_http()));
        router.set_fallback(service, |path| path.starts_with("/b."));
        let has = |path| router.route(path).map(|route| route.has(path));
        assert_eq!(has("/a.v1.Greeter/Anything"), Some(true));
        assert_eq!(has("/b.v1.Other/Get"), Some(true));
        assert_eq!(has("/c.v1.Other/Get"), Some(false));
        assert!(earlier.route("/b.v1.Other/Get").is_none(), "a clone is as it was");
    }

    #[test]
    fn a_future_that_is_boxed_already_is_not_boxed_again() {
        let future: Answer = Box::pin(ready(Ok(Status::ok("boxed").into_http())));
        let place = std::ptr::from_ref(&*future).cast::<()>();
        let answer = boxed(future);
        assert_eq!(std::ptr::from_ref(&*answer).cast::<()>(), place);
        let response = answer.now_or_never().unwrap().unwrap();
        assert_eq!(grpc_status(response.headers()), Some(Code::Ok));
        let response = boxed(async { Ok(Status::aborted("plain").into_http()) }).now_or_never().unwrap().unwrap();
        assert_eq!(grpc_status(response.headers()), Some(Code::Aborted));
    }
}

//! From a path to the service that answers it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use foldhash::fast::RandomState;
use futures_util::future::Either;
use futures_util::task::noop_waker_ref;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::util::ServiceExt as _;
use tower_service::Service;

/// How many characters of a path that leads nowhere are shown.
const SHOWN: usize = 64;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The services of a server, by name: what a [`layer`](super::Builder::layer) of one's own wraps. Clones share them.
///
/// The paths of gRPC have two parts, a service and a method; so the service is found by one look into a map, and gets the
/// request as it is.
#[derive(Clone, Debug, Default)]
pub struct Router(Arc<Routes>);

#[derive(Default)]
struct Routes {
    /// By full name, `package.Service`.
    services: HashMap<&'static str, Box<dyn Handler>, RandomState>,
    fallback: Option<Box<dyn Handler>>,
}

/// A service whose type nobody needs to know.
trait Handler: Send + Sync {
    fn call(&self, request: Request<Body>) -> Answer;
    fn boxed_clone(&self) -> Box<dyn Handler>;
}

impl<S> Handler for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn call(&self, request: Request<Body>) -> Answer {
        let mut service = self.clone();
        // The services that tonic generates are ready at once; one that isn't is waited for.
        match service.poll_ready(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(Ok(())) => Box::pin(Service::call(&mut service, request)),
            Poll::Pending => Box::pin(service.oneshot(request)),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Handler> {
        Box::new(self.clone())
    }
}

impl Clone for Routes {
    fn clone(&self) -> Self {
        Self {
            services: self.services.iter().map(|(name, service)| (*name, service.boxed_clone())).collect(),
            fallback: self.fallback.as_ref().map(|service| service.boxed_clone()),
        }
    }
}

impl Router {
    /// Adds a service; a second one of its name takes its place.
    pub(super) fn add<S>(&mut self, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        Arc::make_mut(&mut self.0).services.insert(S::NAME, Box::new(service));
    }

    /// Answers what no service has a name for.
    pub(super) fn set_fallback<S>(&mut self, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Arc::make_mut(&mut self.0).fallback = Some(Box::new(service));
    }

    fn find(&self, path: &str) -> Option<&dyn Handler> {
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        let found = service.and_then(|service| self.0.services.get(service));
        found.or(self.0.fallback.as_ref()).map(AsRef::as_ref)
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
        match self.find(request.uri().path()) {
            Some(service) => Either::Left(service.call(request)),
            None => {
                // Callers choose the path: its beginning says which it was.
                let path: String = request.uri().path().chars().take(SHOWN).collect();
                Either::Right(ready(Ok(Status::unimplemented(format!("there is no method {path} here")).into_http())))
            }
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
    struct Named;

    impl NamedService for Named {
        const NAME: &'static str = "a.v1.Named";
    }

    impl Service<Request<Body>> for Named {
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
        router.add(Named);
        let others =
            ["/", "/a.v1.Named", "/a.v1.Named2/Get", "/A.v1.Named/Get", "//a.v1.Named/Get", "/x/a.v1.Named/Get", "*"];
        for path in ["/a.v1.Named/Get", "/a.v1.Named/", "/a.v1.Named/Get/more"] {
            assert_eq!(code(&router, path), Some(Code::Ok), "{path}");
        }
        for path in others {
            assert_eq!(code(&router, path), Some(Code::Unimplemented), "{path}");
        }
        router.set_fallback(service_fn(async |_: Request<Body>| Ok(Status::aborted("fallback").into_http())));
        assert_eq!(code(&router, "/a.v1.Named/Get"), Some(Code::Ok));
        for path in others {
            assert_eq!(code(&router, path), Some(Code::Aborted), "{path}");
        }
    }
}

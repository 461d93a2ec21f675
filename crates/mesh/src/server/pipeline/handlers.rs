//! What answers the calls at the end of the pipeline: the routes themselves, or the user's layers around them.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;
use tower::util::Oneshot;
use tower_service::Service;

use crate::server::router::{Route, Router};

/// A user's layers around the [`Router`].
pub(in crate::server) trait HandlerService:
    Service<
        Request<Body>,
        Response = Response<<Self as HandlerService>::ResponseBody>,
        Error = <Self as HandlerService>::Failure,
        Future = <Self as HandlerService>::Answer,
    > + Clone
    + Send
    + 'static
{
    type ResponseBody: http_body::Body<Data = Bytes, Error = <Self as HandlerService>::BodyError> + Send + 'static;
    type BodyError: Into<StdError>;
    type Failure: Into<StdError>;
    type Answer: Future<Output = Result<Response<<Self as HandlerService>::ResponseBody>, <Self as HandlerService>::Failure>>
        + Send
        + 'static;
}

impl<S, B> HandlerService for S
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<StdError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type ResponseBody = B;
    type BodyError = B::Error;
    type Failure = S::Error;
    type Answer = S::Future;
}

/// What answers the calls of a server.
#[derive(Clone)]
pub(in crate::server) enum Handlers<H> {
    /// The route of the method's plan: the user has no layers.
    Routes,
    /// The user's layers, which end in a [`Router`].
    Layered(H),
}

impl<H: HandlerService> Handlers<H> {
    /// The handlers behind `layered`. A bare router has nothing to add to the plans, which have their routes.
    pub(in crate::server) fn new(layered: H) -> Self {
        if (&layered as &dyn Any).is::<Router>() { Self::Routes } else { Self::Layered(layered) }
    }

    /// The call of the handler for `request`. Layers that aren't ready are waited for within the call.
    pub(super) fn call(self, route: Option<&Route>, request: Request<Body>) -> HandlerFuture<H> {
        match (self, route) {
            (Self::Layered(layered), _) => HandlerFuture::Layered { future: Oneshot::new(layered, request) },
            (Self::Routes, Some(route)) => HandlerFuture::Route { future: route.call(request) },
            (Self::Routes, None) => HandlerFuture::Unknown { path: Some(Router::unknown(request.uri().path())) },
        }
    }
}

pin_project! {
    /// The answer of a handler. A failure of the user's layers is a status here.
    #[project = HandlerProjection]
    pub(super) enum HandlerFuture<H: Service<Request<Body>>> {
        Route { future: BoxFuture<'static, Result<Response<Body>, Infallible>> },
        Layered { #[pin] future: Oneshot<H, Request<Body>> },
        Unknown { path: Option<Status> },
    }
}

impl<H: HandlerService> Future for HandlerFuture<H> {
    type Output = Response<Body>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        Poll::Ready(match self.project() {
            HandlerProjection::Route { future } => match ready!(future.as_mut().poll(cx)) {
                Ok(response) => response,
                Err(never) => match never {},
            },
            HandlerProjection::Layered { future } => match ready!(future.poll(cx)) {
                Ok(response) => response.map(Body::new),
                Err(error) => Status::from_error(error.into()).into_http(),
            },
            HandlerProjection::Unknown { path } => {
                path.take().unwrap_or_else(|| Status::internal("polled after its end")).into_http()
            }
        })
    }
}

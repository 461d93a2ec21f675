//! The order of the layers: it is written here, and nowhere can it be changed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::arrival::{ArrivalLayer, ArrivalService};
use super::auth::{AuthenticationLayer, AuthenticationService, AuthorizationLayer, AuthorizationService};
use super::bound::{StatusSizeLayer, StatusSizeService};
use super::deadline::{ServerDeadlineLayer, ServerDeadlineService};
use super::drain::{DrainLayer, DrainService};
use super::panic::{PanicGuardLayer, PanicGuardService};
use super::rate::{RateLimitLayer, RateLimitService};
use super::shed::{LoadShedLayer, LoadShedService};
use super::size::{MessageSizeLayer, MessageSizeService};
use super::telemetry::{TelemetryLayer, TelemetryService};

/// The layers between a connection and its handlers, from the outside to the inside.
#[derive(Clone, Default)]
pub(super) struct Layers {
    pub telemetry: TelemetryLayer,
    pub status_size: StatusSizeLayer,
    pub panic_guard: PanicGuardLayer,
    pub drain: DrainLayer,
    pub deadline: ServerDeadlineLayer,
    pub by_address: RateLimitLayer,
    pub authentication: AuthenticationLayer,
    pub authorization: AuthorizationLayer,
    pub by_principal: RateLimitLayer,
    pub arrival: ArrivalLayer,
    pub load_shed: LoadShedLayer,
    pub message_size: MessageSizeLayer,
}

/// Handlers under all layers.
pub(super) type Stacked<H> = TelemetryService<StatusSizeService<PanicGuardService<DrainService<Timed<H>>>>>;

type Timed<H> = ServerDeadlineService<RateLimitService<AuthenticationService<AuthorizationService<Admitted<H>>>>>;

type Admitted<H> = RateLimitService<ArrivalService<LoadShedService<MessageSizeService<H>>>>;

impl Layers {
    /// Puts all layers around `handlers`.
    pub(super) fn around<H>(&self, handlers: H) -> Stacked<H> {
        let admitted = self.arrival.layer(self.load_shed.layer(self.message_size.layer(handlers)));
        let authorized = self.authorization.layer(self.by_principal.layer(admitted));
        let authenticated = self.by_address.layer(self.authentication.layer(authorized));
        let bounded = self.drain.layer(self.deadline.layer(authenticated));
        self.telemetry.layer(self.status_size.layer(self.panic_guard.layer(bounded)))
    }
}

/// The routes under the user's own layers, whose errors become statuses here.
#[derive(Clone, Debug)]
pub(super) struct Handlers<S>(pub S);

impl<S, A, B> Service<Request<A>> for Handlers<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<StdError>,
    A: http_body::Body<Data = Bytes> + Send + 'static,
    A::Error: Into<StdError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = HandlersFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A layer that fails before the call would fail the connection with it: the call tells its status instead.
        let _ = ready!(self.0.poll_ready(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        HandlersFuture { future: self.0.call(request.map(Body::new)) }
    }
}

pin_project! {
    /// The future of [`Handlers`].
    pub(super) struct HandlersFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, B, E> Future for HandlersFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<StdError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match ready!(self.project().future.poll(cx)) {
            Ok(response) => response.map(Body::new),
            Err(error) => Status::from_error(error.into()).into_http(),
        }))
    }
}

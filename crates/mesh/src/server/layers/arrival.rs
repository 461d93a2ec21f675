//! A request that doesn't come holds nothing: calls go on only once their first message is there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::message_size::MessageSizeLayer;
use crate::server::arriving::{ArrivalRules, ArrivalWait, Arrived, Arriving, RequestPart, undecodable};
use crate::server::budget::{Account, Budgets};
use crate::server::plan::StreamingMethods;
use crate::server::{Domain, Peer};

/// How long the first message of a call may take by default.
pub(in crate::server) const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// Holds a call back until its first message is there: whole, and with the end of the stream where the method takes exactly one
/// message. A method that streams both ways may have its answer begin first, so that its calls go on at once and hold no more
/// than a stream's place; and so do those of a method that the descriptors don't know.
///
/// A request that is withheld holds a stream of its own connection and nothing else; after its time it is answered with
/// DEADLINE_EXCEEDED. One that is no sequence of messages is answered with INVALID_ARGUMENT, and so is a message that the
/// handler's stub can't decode.
///
/// A message that is too large is answered as by [`MessageSizeLayer`], which holds those that follow to the same size.
///
/// The bytes of messages that are not whole yet count in the budget
/// [`Resource::ArrivingBytes`](crate::server::Resource::ArrivingBytes).
#[derive(Clone, Debug)]
pub struct ArrivalLayer {
    first_message: Duration,
    methods: StreamingMethods,
    rules: ArrivalRules,
    budgets: Budgets,
}

impl ArrivalLayer {
    /// Waits for the requests of `methods`, for the first message `first_message` long. Messages are held to `size`, and errors
    /// carry `domain`.
    pub fn new(
        first_message: Duration,
        methods: StreamingMethods,
        size: MessageSizeLayer,
        budgets: Budgets,
        domain: Domain,
    ) -> Self {
        Self { first_message, methods, rules: ArrivalRules { max_message: size.max(), domain }, budgets }
    }
}

impl Default for ArrivalLayer {
    fn default() -> Self {
        let (methods, size) = (StreamingMethods::default(), MessageSizeLayer::default());
        Self::new(FIRST_MESSAGE, methods, size, Budgets::default(), Domain::default())
    }
}

impl<S> Layer<S> for ArrivalLayer {
    type Service = ArrivalService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ArrivalService { inner, layer: self.clone() }
    }
}

/// The service of [`ArrivalLayer`].
#[derive(Clone, Debug)]
pub struct ArrivalService<S> {
    inner: S,
    layer: ArrivalLayer,
}

impl<S, A, B> Service<Request<A>> for ArrivalService<S>
where
    S: Service<Request<Arrived<A>>, Response = Response<B>> + Clone,
    A: Body<Data = Bytes> + Unpin,
    A::Error: Into<StdError>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ArrivalFuture<S, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let part = RequestPart::of(self.layer.methods.find(request.uri().path()));
        let (parts, body) = request.into_parts();
        let mut arriving = Arriving::new(body, &parts.headers, part);
        if part == RequestPart::Nothing {
            let request = Request::from_parts(parts, arriving.arrived());
            let future = Some(self.inner.call(request));
            return ArrivalFuture { future, waiting: None, domain: self.layer.rules.domain };
        }
        // Most requests come in one piece: they go on at once, and cost no clone and no timer.
        match arriving.poll(self.layer.rules, &mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(Ok(())) => {
                let request = Request::from_parts(parts, arriving.arrived());
                ArrivalFuture { future: Some(self.inner.call(request)), waiting: None, domain: self.layer.rules.domain }
            }
            Poll::Ready(Err(status)) => {
                ArrivalFuture { future: None, waiting: Some(Waiting::refused(status)), domain: self.layer.rules.domain }
            }
            Poll::Pending => {
                arriving.copy();
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                let network = parts.extensions.get::<Peer>().and_then(Peer::network_key);
                let address = network.map(|network| self.layer.budgets.account_of_address(network));
                let wait = Box::pin(ArrivalWait::new(&parts, self.layer.first_message));
                let call = PendingCall { service, layer: self.layer.clone(), parts, arriving, address, wait };
                let waiting = Some(Waiting::Call(Box::new(call)));
                ArrivalFuture { future: None, waiting, domain: self.layer.rules.domain }
            }
        }
    }
}

/// A call that waits for its request, or why it is refused.
enum Waiting<S, A> {
    Call(Box<PendingCall<S, A>>),
    Refused(Option<Box<Status>>),
}

impl<S, A> Waiting<S, A> {
    fn refused(status: Status) -> Self {
        Self::Refused(Some(Box::new(status)))
    }
}

struct PendingCall<S, A> {
    service: S,
    layer: ArrivalLayer,
    parts: Parts,
    arriving: Arriving<A>,
    address: Option<Account>,
    wait: Pin<Box<ArrivalWait>>,
}

impl<S, A> PendingCall<S, A>
where
    A: Body<Data = Bytes> + Unpin,
    A::Error: Into<StdError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let ArrivalLayer { rules, budgets, .. } = &self.layer;
        self.wait.as_mut().poll(&mut self.arriving, *rules, budgets, self.address.as_ref(), cx)
    }
}

pin_project! {
    /// The future of [`ArrivalService`].
    pub struct ArrivalFuture<S: Service<Request<Arrived<A>>>, A> {
        #[pin]
        future: Option<S::Future>,
        waiting: Option<Waiting<S, A>>,
        domain: Domain,
    }
}

impl<S, A, B> Future for ArrivalFuture<S, A>
where
    S: Service<Request<Arrived<A>>, Response = Response<B>>,
    A: Body<Data = Bytes> + Unpin,
    A::Error: Into<StdError>,
    B: Default,
{
    type Output = Result<Response<B>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(waiting) = this.waiting.as_mut() {
            let arrived = match waiting {
                Waiting::Call(call) => ready!(call.poll(cx)),
                Waiting::Refused(status) => {
                    Err(status.take().map_or_else(|| Status::internal("polled after its end"), |status| *status))
                }
            };
            if let Err(status) = arrived {
                *this.waiting = Some(Waiting::Refused(None));
                return Poll::Ready(Ok(status.into_http()));
            }
            if let Some(Waiting::Call(call)) = this.waiting.take() {
                let PendingCall { mut service, parts, arriving, .. } = *call;
                this.future.set(Some(service.call(Request::from_parts(parts, arriving.arrived()))));
            }
        }
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx).map_ok(|response| match undecodable(&response, *this.domain) {
                Some(status) => status.into_http(),
                None => response,
            }),
            None => Poll::Ready(Ok(Status::internal("polled after its end").into_http())),
        }
    }
}

//! A request that doesn't come holds nothing: calls go on only once their first message is there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::task::noop_waker_ref;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::codegen::StdError;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::methods::{StreamingMethods, Streams};
use super::size::MessageSizeLayer;
use super::unfinished::{Held, Holds, OWN};
use super::{Domain, Peer};
use crate::bodies::Framing;

/// How requests may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalLimits {
    /// How long the first message may take, and the only one of a method that takes one; 10 s.
    pub first_message: Duration,
    /// How many bytes of messages that are not whole yet are held for one address (of IPv6, one /64): 64 MiB, as in all. A
    /// port that everybody may reach gives one address less; behind a proxy all callers have the proxy's address.
    pub bytes_per_address: usize,
    /// How many of them are held in all, beside 64 KiB for each address: 64 MiB.
    pub bytes: usize,
}

impl Default for ArrivalLimits {
    fn default() -> Self {
        Self { first_message: Duration::from_secs(10), bytes_per_address: 64 << 20, bytes: 64 << 20 }
    }
}

/// Holds a call back until its first message is there: whole, and with the end of the stream where the method takes exactly one
/// message. A method that streams both ways may have its answer begin first, so that its calls go on at once and hold no more
/// than a stream's place; and so do those of a method that the descriptors don't know.
///
/// A request that is withheld holds a stream of its own connection and nothing else; after its time it is answered with
/// DEADLINE_EXCEEDED. One that is no sequence of messages is answered with INVALID_ARGUMENT, and so is a message that the
/// handler's stub can't decode.
///
/// A message that is too large is answered as by [`MessageSizeLayer`], which holds those that follow to the same size.
#[derive(Clone, Debug)]
pub struct ArrivalLayer {
    limits: ArrivalLimits,
    methods: StreamingMethods,
    size: MessageSizeLayer,
    domain: Domain,
    held: Arc<Held>,
}

impl ArrivalLayer {
    /// Waits for the requests of `methods`. Messages are held to `size`, and errors carry `domain`.
    pub fn new(limits: ArrivalLimits, methods: StreamingMethods, size: MessageSizeLayer, domain: Domain) -> Self {
        Self { limits, methods, size, domain, held: Arc::default() }
    }

    fn malformed(&self, code: Code, message: &str) -> Status {
        self.domain.refuse(code, "MALFORMED_REQUEST", message, &[])
    }

    fn late(&self) -> Status {
        let limit = self.limits.first_message;
        let message = format!("the request did not come within {limit:?}; send its message in that time");
        self.domain.refuse(Code::DeadlineExceeded, "REQUEST_TIMED_OUT", message, &[])
    }

    fn too_many_bytes(&self) -> Status {
        let message = "too many messages are on their way from this address; send fewer at once";
        self.domain.refuse_for(Duration::from_secs(1), Code::ResourceExhausted, "TOO_MANY_BYTES", message, &[])
    }
}

impl Default for ArrivalLayer {
    fn default() -> Self {
        let size = MessageSizeLayer::default();
        Self::new(ArrivalLimits::default(), StreamingMethods::default(), size, Domain::default())
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
        let (one, first) = match self.layer.methods.find(request.uri().path()) {
            None | Some(Streams { requests: true, answers: true }) => (false, false),
            Some(Streams { requests: true, answers: false }) => (false, true),
            Some(Streams { requests: false, .. }) => (true, true),
        };
        let encoded = request.headers().get("grpc-encoding").is_some_and(|encoding| encoding != "identity");
        let (parts, body) = request.into_parts();
        let (framing, chunks) = (Framing::default(), Chunks::None);
        let mut arriving = Arriving { body, one, encoded, framing, chunks, copied: false, end: None };
        if !first {
            let request = Request::from_parts(parts, arriving.arrived());
            let future = Some(self.inner.call(request));
            return ArrivalFuture { future, waiting: None, domain: self.layer.domain };
        }
        // Most requests come in one piece: they go on at once, and cost no clone and no timer.
        match arriving.poll(&self.layer, &mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(Ok(())) => {
                let request = Request::from_parts(parts, arriving.arrived());
                ArrivalFuture { future: Some(self.inner.call(request)), waiting: None, domain: self.layer.domain }
            }
            Poll::Ready(Err(status)) => {
                ArrivalFuture { future: None, waiting: Some(Waiting::refused(status)), domain: self.layer.domain }
            }
            Poll::Pending => {
                arriving.copy();
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                let limit = Box::pin(sleep(self.layer.limits.first_message));
                let network = parts.extensions.get::<Peer>().and_then(Peer::network_key);
                let holds = Holds::none(&self.layer.held, network);
                let call = Waits { service, layer: self.layer.clone(), parts, arriving, limit, holds };
                let waiting = Some(Waiting::Call(Box::new(call)));
                ArrivalFuture { future: None, waiting, domain: self.layer.domain }
            }
        }
    }
}

/// A request on its way.
struct Arriving<A> {
    body: A,
    /// Whether there is to be one message and no more.
    one: bool,
    /// Whether messages may be compressed.
    encoded: bool,
    framing: Framing,
    chunks: Chunks,
    /// Whether what comes is copied: a slice of it would hold the whole buffer that it was read into.
    copied: bool,
    /// Set at the end of the stream, with the trailers if there are any.
    end: Option<Option<HeaderMap>>,
}

/// What has come.
enum Chunks {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Chunks {
    /// Adds what has come of a message of which `left` bytes are still to come.
    fn push(&mut self, data: Bytes, left: usize) {
        let mut all = match std::mem::replace(self, Self::None) {
            Self::None => return *self = Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + data.len());
                all.extend_from_slice(&first);
                all
            }
            Self::Many(all) => all,
        };
        // By doubling, the buffer of a large message would be twice as large as the message.
        if all.len() >= OWN {
            all.reserve(data.len() + left);
        }
        all.extend_from_slice(&data);
        *self = Self::Many(all);
    }

    /// The bytes that it takes.
    fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.capacity(),
        }
    }
}

impl<A> Arriving<A>
where
    A: Body<Data = Bytes> + Unpin,
    A::Error: Into<StdError>,
{
    /// Ready when the call may go on, or with why it must not.
    fn poll(&mut self, layer: &ArrivalLayer, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if self.end.is_some() {
                return Poll::Ready(self.ended(layer));
            }
            if !self.one && self.framing.complete_messages() > 0 {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.end = Some(None),
                Some(Err(error)) => return Poll::Ready(Err(Status::from_error(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Err(status) = self.take(layer, data) {
                            return Poll::Ready(Err(status));
                        }
                        if self.body.is_end_stream() {
                            self.end = Some(None);
                        }
                    }
                    Err(frame) => self.end = Some(frame.into_trailers().ok()),
                },
            }
        }
    }

    /// From now on it is waited for, and holds no more than it counts for.
    fn copy(&mut self) {
        self.copied = true;
        if let Chunks::One(bytes) = &mut self.chunks {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }

    fn take(&mut self, layer: &ArrivalLayer, data: Bytes) -> Result<(), Status> {
        if data.is_empty() {
            return Ok(());
        }
        let read = self.framing.read(&data, layer.size.max());
        match self.framing.highest_flag() {
            // gRPC's document on compression asks for INTERNAL.
            Some(1) if !self.encoded => {
                let message = "a message is marked as compressed, and grpc-encoding doesn't say how";
                return Err(layer.malformed(Code::Internal, message));
            }
            Some(flag) if flag > 1 => {
                let message = "a message begins with neither 0 nor 1: it has no prefix of gRPC";
                return Err(layer.malformed(Code::InvalidArgument, message));
            }
            _ => {}
        }
        read.map_err(|length| layer.size.too_large(length))?;
        let data = if self.copied { Bytes::copy_from_slice(&data) } else { data };
        self.chunks.push(data, self.framing.left());
        let more =
            self.framing.complete_messages() > 1 || self.framing.complete_messages() == 1 && !self.framing.between();
        if self.one && more {
            let message = "the method takes one message, and there are more";
            return Err(layer.malformed(Code::InvalidArgument, message));
        }
        Ok(())
    }

    fn ended(&self, layer: &ArrivalLayer) -> Result<(), Status> {
        if !self.framing.between() {
            return Err(layer.malformed(Code::InvalidArgument, "the request ended in the middle of a message"));
        }
        if self.one && self.framing.complete_messages() == 0 {
            return Err(layer.malformed(Code::InvalidArgument, "the method takes one message, and there is none"));
        }
        Ok(())
    }

    fn arrived(self) -> Arrived<A> {
        let first = match self.chunks {
            Chunks::None => Bytes::new(),
            Chunks::One(bytes) => bytes,
            Chunks::Many(bytes) => bytes.freeze(),
        };
        let rest = match self.end {
            None => Rest::Body { body: self.body },
            Some(trailers) => Rest::Trailers { trailers },
        };
        Arrived { first, rest }
    }
}

pin_project! {
    /// A request whose first message is there; of a method that takes one message, all of it is.
    #[derive(Debug)]
    pub struct Arrived<A> {
        first: Bytes,
        #[pin]
        rest: Rest<A>,
    }
}

pin_project! {
    #[project = RestProjection]
    #[derive(Debug)]
    enum Rest<A> {
        Body { #[pin] body: A },
        Trailers { trailers: Option<HeaderMap> },
    }
}

impl<A: Body<Data = Bytes>> Body for Arrived<A> {
    type Data = Bytes;
    type Error = A::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let this = self.project();
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.first)))));
        }
        match this.rest.project() {
            RestProjection::Body { body } => body.poll_frame(cx),
            RestProjection::Trailers { trailers } => Poll::Ready(trailers.take().map(|all| Ok(Frame::trailers(all)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty()
            && match &self.rest {
                Rest::Body { body } => body.is_end_stream(),
                Rest::Trailers { trailers } => trailers.is_none(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::Body { .. } => SizeHint::default(),
            Rest::Trailers { .. } => SizeHint::with_exact(self.first.len() as u64),
        }
    }
}

/// A call that waits for its request, or why it is refused.
enum Waiting<S, A> {
    Call(Box<Waits<S, A>>),
    Refused(Option<Box<Status>>),
}

impl<S, A> Waiting<S, A> {
    fn refused(status: Status) -> Self {
        Self::Refused(Some(Box::new(status)))
    }
}

struct Waits<S, A> {
    service: S,
    layer: ArrivalLayer,
    parts: Parts,
    arriving: Arriving<A>,
    limit: Pin<Box<Sleep>>,
    holds: Holds,
}

impl<S, A> Waits<S, A>
where
    A: Body<Data = Bytes> + Unpin,
    A::Error: Into<StdError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let polled = self.arriving.poll(&self.layer, cx);
        if polled.is_ready() {
            return polled;
        }
        let limits = &self.layer.limits;
        if !self.holds.grow(self.arriving.chunks.size(), limits.bytes_per_address, limits.bytes) {
            return Poll::Ready(Err(self.layer.too_many_bytes()));
        }
        self.limit.as_mut().poll(cx).map(|()| Err(self.layer.late()))
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
                let Waits { mut service, parts, arriving, .. } = *call;
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

/// The status for a message that could not be decoded, if that is why there is `response`. The services that tonic generates
/// answer INTERNAL, which tells clients that the server is broken, and no caller may make it look so.
fn undecodable<B>(response: &Response<B>, domain: Domain) -> Option<Status> {
    let status = response.extensions().get::<Status>()?;
    // By prost; and by tonic, of compressed messages.
    let decoding = status.message().starts_with("failed to decode Protobuf message")
        || status.message().starts_with("Error decompressing") && status.message().ends_with("while sending request");
    (status.code() == Code::Internal && decoding).then(|| {
        let message = "the request's message can't be decoded: it is not of the type that the method takes";
        domain.refuse(Code::InvalidArgument, "MALFORMED_REQUEST", message, &[])
    })
}

//! Client-side health checking (gRFC A17): what a server says of itself, by a stream of its health service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use super::failures::Failures;
use super::{HealthCheck, Options};
use crate::outcome::grpc_status;
use crate::transport::{Connection, ExchangeError, FullBody, ReceiveBody, StreamSlot};

/// What is known of a connection's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// A stream begins; nothing was said yet.
    Pending,
    /// SERVING, or a server that has no health service.
    Serving,
    /// Anything else, in words.
    Failing(String),
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// No answer of a health service is longer.
const LONGEST: usize = 4096;

/// The health of one connection as it changes. Dropped, it cancels the stream without awaiting its status.
/// `open` tells whether it holds a stream.
pub(super) fn watch(
    connection: Connection,
    check: HealthCheck,
    options: Arc<Options>,
    open: Arc<AtomicBool>,
) -> BoxStream<'static, Health> {
    let (failures, flaps) = (Failures::default(), 0);
    let watcher = Watcher { connection, check, options, open, failures, flaps, next: Next::Begin };
    unfold(watcher, |mut watcher| async move { Some((watcher.next().await, watcher)) }).boxed()
}

struct Watcher {
    connection: Connection,
    check: HealthCheck,
    options: Arc<Options>,
    open: Arc<AtomicBool>,
    failures: Failures,
    /// Streams in a row that ended soon after they began, though with a message.
    flaps: u32,
    next: Next,
}

enum Next {
    /// A stream begins.
    Begin,
    /// Another one begins then; at once if `None`.
    Again(Option<Instant>),
    /// A stream goes on.
    Read(Box<Call>),
    /// Nothing will change.
    Never,
}

struct Call {
    body: ReceiveBody,
    buffer: BytesMut,
    began: Instant,
    /// Whether a message came on it.
    received: bool,
}

/// How a stream ended.
struct End {
    code: Code,
    message: String,
}

impl Watcher {
    /// What is new. Runs inside a boxed stream, so that it need not be safe to cancel half-way.
    async fn next(&mut self) -> Health {
        loop {
            match std::mem::replace(&mut self.next, Next::Never) {
                Next::Never => std::future::pending().await,
                Next::Again(until) => {
                    if let Some(until) = until {
                        sleep_until(until).await;
                    }
                    self.next = Next::Begin;
                    return Health::Pending;
                }
                Next::Begin => {
                    let slot = self.slot().await;
                    self.open.store(true, Ordering::Relaxed);
                    match self.begin(slot).await {
                        Ok(body) => {
                            let (buffer, began) = (BytesMut::new(), Instant::now());
                            self.next = Next::Read(Box::new(Call { body, buffer, began, received: false }));
                        }
                        Err(end) => return self.ended(&end, None),
                    }
                }
                Next::Read(mut call) => match call.message().await {
                    Ok(answer) => {
                        call.received = true;
                        self.failures.reset();
                        self.next = Next::Read(call);
                        return self.health_of(answer.status);
                    }
                    Err(end) => return self.ended(&end, call.received.then_some(call.began)),
                },
            }
        }
    }

    fn health_of(&self, status: i32) -> Health {
        let status = match status {
            1 => return Health::Serving,
            0 => "UNKNOWN",
            2 => "NOT_SERVING",
            3 => "SERVICE_UNKNOWN",
            _ => "a status that this client does not know",
        };
        Health::Failing(format!("its health service says {status} of {}", self.subject()))
    }

    fn subject(&self) -> String {
        if self.check.service.is_empty() { "the server".to_owned() } else { format!("`{}`", self.check.service) }
    }

    /// A stream ended; it began at `answered` if a message came on it.
    fn ended(&mut self, end: &End, answered: Option<Instant>) -> Health {
        self.open.store(false, Ordering::Relaxed);
        if end.code == Code::Unimplemented {
            tracing::error!(
                service = &*self.check.service,
                message = end.message,
                "the server has no health service: it counts as healthy; leave healthCheckConfig out or add the service"
            );
            self.next = Next::Never;
            return Health::Serving;
        }
        let (backoff, random) = (&self.options.backoff, &self.options.random);
        let wait = match answered {
            None => Some(self.failures.next(backoff, random)),
            // With a message received, the failures were reset and the next try is immediate; but a server that says a word and
            // ends the stream, again and again, must keep nobody busy.
            Some(began) => {
                self.flaps = if began.elapsed() < backoff.initial { self.flaps.saturating_add(1) } else { 0 };
                (self.flaps > 1).then(|| backoff.wait(self.flaps - 1, random))
            }
        };
        self.next = Next::Again(wait.map(|wait| Instant::now() + wait));
        let detail = if end.message.is_empty() { String::new() } else { format!(": {}", end.message) };
        Health::Failing(format!("the watch of its health ended with {:?}{detail}", end.code))
    }

    /// A place for the stream, which counts to the peer's limit as any other.
    async fn slot(&self) -> StreamSlot {
        loop {
            let room = self.connection.room();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(slot) = self.connection.reserve() {
                return slot;
            }
            room.await;
        }
    }

    async fn begin(&self, slot: StreamSlot) -> Result<ReceiveBody, End> {
        let authority = slot.authority().unwrap_or(&self.check.authority).clone();
        let uri = http::Uri::builder()
            .scheme(self.check.scheme.clone())
            .authority(authority)
            .path_and_query("/grpc.health.v1.Health/Watch")
            .build()
            .map_err(|error| End::internal(error.to_string()))?;
        let request = http::Request::post(uri)
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())
            .map_err(|error| End::internal(error.to_string()))?;
        let message = HealthCheckRequest { service: self.check.service.to_string() }.encode_to_vec();
        let mut body = BytesMut::with_capacity(5 + message.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        body.put_slice(&message);
        let exchange = slot
            .send(request, FullBody(Some(body.freeze())))
            .map_err(|error| End { code: error.code(), message: error.to_string() })?;
        let response = exchange.await.map_err(|error| match error {
            ExchangeError::Transport(error) => End { code: error.code(), message: error.to_string() },
            ExchangeError::Body(status) => End { code: status.code(), message: status.message().to_owned() },
        })?;
        if let Some(code) = grpc_status(response.headers()) {
            return Err(End::of(code, response.headers()));
        }
        match response.status() {
            http::StatusCode::OK => Ok(response.into_body()),
            http::StatusCode::NOT_FOUND => Err(End { code: Code::Unimplemented, message: "HTTP 404".to_owned() }),
            status => Err(End { code: Code::Unavailable, message: format!("HTTP {status}") }),
        }
    }
}

impl Call {
    async fn message(&mut self) -> Result<HealthCheckResponse, End> {
        loop {
            if let Some(message) = self.whole()? {
                return HealthCheckResponse::decode(message).map_err(|error| End::internal(error.to_string()));
            }
            // `frame` of a body that ended says so again.
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Err(End::of(grpc_status(&trailers).unwrap_or(Code::Unknown), &trailers));
                    }
                },
                Some(Err(error)) => return Err(End { code: error.code(), message: error.to_string() }),
                None => return Err(End { code: Code::Unknown, message: "no trailers".to_owned() }),
            }
        }
    }

    /// A message, if it is here whole.
    fn whole(&mut self) -> Result<Option<Bytes>, End> {
        let Some((&[compressed, a, b, c, d], rest)) = self.buffer.split_first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 || length > LONGEST {
            return Err(End::internal("an answer that is compressed, or too long"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

impl End {
    fn internal(message: impl Into<String>) -> Self {
        Self { code: Code::Internal, message: message.into() }
    }

    fn of(code: Code, headers: &http::HeaderMap) -> Self {
        let message = headers.get("grpc-message").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self { code, message: message.to_owned() }
    }
}

//! Calls of the gateway's own port: what comes over HTTP goes the way of a gRPC call, and its answer is read here.

use std::convert::Infallible;
use std::future::poll_fn;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_TYPE, COOKIE, EXPECT, HOST, ORIGIN, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use percent_encoding::percent_decode;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tower_service::Service;

use super::prefix::{prefixed, take};
use crate::adapters::errors::{answer_too_large, answer_unreadable, method_unknown};

/// The most bytes of a message of an answer: what clients of gRPC take by default.
const MAX_MESSAGE: usize = 4 << 20;

/// The largest number of a `grpc-timeout`: eight digits.
const MAX_TIMEOUT: u128 = 99_999_999;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
const GRPC_DETAILS: &str = "grpc-status-details-bin";
const GRPC_TIMEOUT: &str = "grpc-timeout";
const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// Headers that are of one connection, or of one message on it (RFC 9110, section 7.6.1).
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Binary headers have padding or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The head of a call.
#[derive(Debug)]
pub(super) struct Head {
    /// `/package.Service/Method`.
    pub path: String,
    /// What the service gets as metadata.
    pub metadata: HeaderMap,
    /// How long the call may take; `None` for as long as `metadata` and the server allow.
    pub timeout: Option<Duration>,
}

/// An answer that has begun.
pub(super) struct Answer {
    /// Its initial metadata, without headers of the connection.
    pub metadata: HeaderMap,
    /// What follows.
    pub messages: Messages,
}

/// The messages of an answer, as they come.
pub(super) struct Messages {
    body: Body,
    buffer: BytesMut,
    ended: bool,
    trailers: Option<HeaderMap>,
}

/// A call that has failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Why.
    pub status: Status,
    /// The metadata that came with the status: all there is of an answer that consists of it alone.
    pub metadata: HeaderMap,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status, metadata: HeaderMap::new() }
    }
}

/// A message as the body of a call has it, not compressed.
pub(super) fn frame(message: &[u8]) -> Bytes {
    prefixed(0, message)
}

/// Makes a call whose messages are the frames of `body`. Dropping the future, or the messages, cancels it.
///
/// # Errors
/// When the call fails before its answer has begun.
pub(super) async fn start<S>(calls: &mut S, head: Head, body: Body) -> Result<Answer, Failure>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let request = request(head, body)?;
    let Ok(()) = poll_fn(|cx| calls.poll_ready(cx)).await;
    let Ok(response) = calls.call(request).await;
    let (parts, body) = response.into_parts();
    let mut metadata = parts.headers;
    if let Some(status) = take_status(&mut metadata) {
        // An answer without messages has its status in its head.
        if status.code() != Code::Ok {
            return Err(Failure { status, metadata });
        }
        let messages = Messages { trailers: Some(HeaderMap::new()), ended: true, ..Messages::new(Body::empty()) };
        return Ok(Answer { metadata, messages });
    }
    if parts.status != StatusCode::OK {
        return Err(answer_unreadable("it has no status").into());
    }
    Ok(Answer { metadata, messages: Messages::new(body) })
}

/// Makes a call of one message that is answered by exactly one: the initial metadata, the message and the trailers.
///
/// # Errors
/// When the call fails; the metadata of the failure are all that came.
pub(super) async fn unary<S>(
    calls: &mut S,
    head: Head,
    message: Bytes,
) -> Result<(HeaderMap, Bytes, HeaderMap), Failure>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    start(calls, head, Body::new(Full::new(frame(&message)))).await?.only().await
}

impl Answer {
    /// The initial metadata, the one message that there is, and the trailers.
    ///
    /// # Errors
    /// As [`unary`].
    pub async fn only(self) -> Result<(HeaderMap, Bytes, HeaderMap), Failure> {
        let Self { metadata, mut messages } = self;
        let result: Result<Bytes, Failure> = match messages.next().await {
            Some(Ok(message)) => match messages.next().await {
                None => Ok(message),
                Some(Ok(_)) => Err(answer_unreadable("there are two messages").into()),
                Some(Err(failure)) => Err(failure),
            },
            Some(Err(failure)) => Err(failure),
            None => Err(answer_unreadable("there is no message").into()),
        };
        match result {
            Ok(message) => Ok((metadata, message, messages.trailers.unwrap_or_default())),
            Err(Failure { status, metadata: trailers }) => {
                let mut all = metadata;
                append(&mut all, &trailers);
                Err(Failure { status, metadata: all })
            }
        }
    }
}

impl Messages {
    fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), ended: false, trailers: None }
    }

    /// The next message; `None` when the call has ended well. After a failure there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            match take(&mut self.buffer, MAX_MESSAGE) {
                Ok(Some((0, message))) => return Some(Ok(message)),
                Ok(None) => {}
                // None was asked for.
                Ok(Some(_)) => return self.fail(answer_unreadable("a message is compressed")),
                Err(_) => return self.fail(answer_too_large(MAX_MESSAGE)),
            }
            if self.ended {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => return self.end(frame.into_trailers().unwrap_or_default()),
                },
                Some(Err(status)) => return self.fail(status),
                None => return self.fail(answer_unreadable("it ended without a status")),
            }
        }
    }

    /// The trailers, without the status; `None` until the end.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The end of the answer, by its trailers.
    fn end(&mut self, mut trailers: HeaderMap) -> Option<Result<Bytes, Failure>> {
        let Some(status) = take_status(&mut trailers) else {
            return self.fail(answer_unreadable("it ended without a status"));
        };
        if status.code() == Code::Ok && !self.buffer.is_empty() {
            return self.fail(answer_unreadable("it ended in the middle of a message"));
        }
        self.close();
        self.trailers = Some(trailers.clone());
        (status.code() != Code::Ok).then_some(Err(Failure { status, metadata: trailers }))
    }

    fn fail(&mut self, status: Status) -> Option<Result<Bytes, Failure>> {
        self.close();
        Some(Err(status.into()))
    }

    /// Nothing more is read, and what is still to come is cancelled.
    fn close(&mut self) {
        self.ended = true;
        self.body = Body::empty();
        self.buffer = BytesMut::new();
    }
}

/// The HTTP status of a code, by the table of `google/rpc/code.proto`, which is Connect's too.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // Nobody has named it: the client has closed the request.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What of the headers of an HTTP request goes on as metadata: all but what is of its connection, of its body, of its
/// browser and of its protocol.
pub(super) fn metadata_of(headers: &HeaderMap) -> HeaderMap {
    const PREFIXES: [&str; 5] = ["content-", "accept", "connect-", "sec-", "access-control-"];
    let mut metadata = headers.clone();
    drop_hop_by_hop(&mut metadata);
    let others = [COOKIE, ORIGIN, PROXY_AUTHORIZATION, HeaderName::from_static("x-grpc-web")];
    drop_named(&mut metadata, &PREFIXES, &others);
    metadata
}

/// Removes from the headers of an answer what is of the connection, and what would describe the body or tell a browser
/// what it may do: HTTP's side of the answer says that itself, and a service has no say in it.
pub(super) fn drop_of_transport(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
    drop_named(headers, &["content-", "access-control-"], &[SET_COOKIE]);
}

/// What metadata say of the limits of a caller, which goes into the head of an answer whatever its protocol.
pub(super) fn limits_of(metadata: &HeaderMap) -> HeaderMap {
    let is_limit = |name: &HeaderName| name.as_str() == "ratelimit" || name.as_str() == "ratelimit-policy";
    let limits = metadata.iter().filter(|(name, _)| is_limit(name));
    limits.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Removes the headers whose names begin with one of `prefixes`, and `others`.
fn drop_named(headers: &mut HeaderMap, prefixes: &[&str], others: &[HeaderName]) {
    let is_one = |name: &HeaderName| prefixes.iter().any(|prefix| name.as_str().starts_with(prefix));
    let dropped: Vec<_> = headers.keys().filter(|name| others.contains(name) || is_one(name)).cloned().collect();
    for name in &dropped {
        headers.remove(name);
    }
}

/// Adds all headers of `more`.
pub(super) fn append(headers: &mut HeaderMap, more: &HeaderMap) {
    for (name, value) in more {
        headers.append(name.clone(), value.clone());
    }
}

/// Removes what is of the connection, and what `connection` names.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// The request of a call.
fn request(head: Head, body: Body) -> Result<Request<Body>, Failure> {
    let Head { path, metadata, timeout } = head;
    let uri = Uri::try_from(path.as_str()).map_err(|_| method_unknown(&path))?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    *headers = metadata;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.remove(GRPC_ENCODING);
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout_value(timeout));
    }
    Ok(request)
}

/// A value of `grpc-timeout`; what doesn't fit is cut off.
fn timeout_value(timeout: Duration) -> HeaderValue {
    let text = match (timeout.as_micros(), timeout.as_millis()) {
        (micros @ ..=MAX_TIMEOUT, _) => format!("{micros}u"),
        (_, millis @ ..=MAX_TIMEOUT) => format!("{millis}m"),
        _ => format!("{}S", u128::from(timeout.as_secs()).min(MAX_TIMEOUT)),
    };
    // Digits and a letter are always a value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0u"))
}

/// Takes the status out of the head or the trailers of an answer, with what is gRPC's own and the connection's; what is
/// left is metadata. Nothing that an upstream sends there is an error of its own.
fn take_status(headers: &mut HeaderMap) -> Option<Status> {
    let code = headers.remove(GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()));
    let message = headers.remove(GRPC_MESSAGE);
    let details = headers.remove(GRPC_DETAILS);
    drop_of_transport(headers);
    for name in [GRPC_ENCODING, GRPC_ACCEPT_ENCODING] {
        headers.remove(name);
    }
    let message = message.map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy().into_owned());
    let details = details.and_then(|value| BASE64.decode(value.as_bytes()).ok());
    code.map(|code| {
        let metadata = MetadataMap::from_headers(headers.clone());
        let details = details.unwrap_or_default().into();
        Status::with_details_and_metadata(code, message.unwrap_or_default(), details, metadata)
    })
}

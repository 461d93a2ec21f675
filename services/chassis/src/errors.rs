//! Statuses with their standard details (AIP-193), made from one table per service.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::echo::bounded;

// A status travels in header fields, which peers bound: gRPC allows 8 KiB of them by default. There the details are
// base64, four bytes for three, and what is not plain in the message takes three bytes for one. The details repeat the
// message. So, with the bounds below: 3 × 640 + 4/3 × (640 + 8 × (40 + 256) + reason, domain, types, delay) < 8,192.

/// The most bytes of a status's message.
pub const MAX_MESSAGE: usize = 640;
/// The most values of a status's metadata. None of ours has so many.
const MAX_METADATA: usize = 8;
/// The most bytes of a key of a status's metadata.
const MAX_KEY: usize = 40;
/// The most bytes of a value of a status's metadata: any of our names fits. What callers have sent is cut before, by
/// [`echo`](crate::echo::echo).
const MAX_VALUE: usize = 256;

/// A row of a service's table of errors.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// The reason in UPPER_SNAKE_CASE, at most 63 characters, unique in its table.
    pub reason: &'static str,
    /// The gRPC code.
    pub code: Code,
    /// When the same call may succeed later: how long to wait first.
    pub retry_after: Option<Duration>,
    /// What it means and what the caller can do.
    pub meaning: &'static str,
}

impl ErrorKind {
    /// An error that comes again when the call is repeated.
    pub const fn new(reason: &'static str, code: Code, meaning: &'static str) -> Self {
        Self { reason, code, retry_after: None, meaning }
    }

    /// An error that may pass: the call can be repeated after a while.
    pub const fn retryable(reason: &'static str, code: Code, after: Duration, meaning: &'static str) -> Self {
        Self { reason, code, retry_after: Some(after), meaning }
    }

    /// The HTTP status that goes with the code.
    pub fn http(&self) -> u16 {
        match self.code {
            Code::Ok => 200,
            Code::Cancelled => 499,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::AlreadyExists | Code::Aborted => 409,
            Code::ResourceExhausted => 429,
            Code::Unimplemented => 501,
            Code::Unavailable => 503,
            Code::DeadlineExceeded => 504,
            Code::Unknown | Code::Internal | Code::DataLoss => 500,
        }
    }

    /// A status of this kind. `metadata` holds every value that the message speaks of.
    ///
    /// Whatever is given, the status stays below 8 KiB: the message is cut at [`MAX_MESSAGE`] bytes, and so are values and
    /// their number, as [`ErrorKind::details`] says.
    pub fn status(&self, domain: &str, message: impl Display, metadata: &[(&str, &str)]) -> Status {
        Status::with_error_details(self.code, bounded(message, MAX_MESSAGE), self.details(domain, metadata))
    }

    /// The details that every status of this kind carries: the first 8 values of `metadata`, each of at most 256 bytes.
    pub fn details(&self, domain: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
        let metadata = metadata.iter().take(MAX_METADATA);
        let metadata: HashMap<_, _> =
            metadata.map(|(key, value)| (bounded(key, MAX_KEY), bounded(value, MAX_VALUE))).collect();
        let mut details = ErrorDetails::with_error_info(self.reason, domain, metadata);
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        details
    }
}

/// A field of the request is wrong; `BadRequest` names it.
pub const INVALID_FIELDS: ErrorKind = ErrorKind::new(
    "INVALID_FIELDS",
    Code::InvalidArgument,
    "Fields of the request are wrong; BadRequest names each and says what would be right. Nothing was written.",
);
/// The request id came with another body before.
pub const REQUEST_ID_REUSED: ErrorKind = ErrorKind::new(
    "REQUEST_ID_REUSED",
    Code::InvalidArgument,
    "The request_id came with another body before. Send a new request_id, or the first body again.",
);
/// The resource has changed since the caller read it.
pub const ETAG_MISMATCH: ErrorKind = ErrorKind::new(
    "ETAG_MISMATCH",
    Code::Aborted,
    "The resource has changed since it was read. Read it again and decide anew.",
);
/// The call needs a token.
pub const NOT_SIGNED_IN: ErrorKind = ErrorKind::new(
    "NOT_SIGNED_IN",
    Code::Unauthenticated,
    "The call needs a token: sign in and send `authorization: Bearer TOKEN`.",
);
/// The token can't be accepted.
pub const BAD_TOKEN: ErrorKind = ErrorKind::new(
    "BAD_TOKEN",
    Code::Unauthenticated,
    "The token is malformed, expired or not signed by the users service. Refresh the session or sign in again.",
);
/// The keys that verify tokens are not known yet.
pub const KEYS_UNAVAILABLE: ErrorKind = ErrorKind::retryable(
    "KEYS_UNAVAILABLE",
    Code::Unavailable,
    Duration::from_secs(1),
    "The keys that verify tokens can't be fetched from the users service at this moment. Try again.",
);
/// The caller's role does not suffice.
pub const NOT_ALLOWED: ErrorKind =
    ErrorKind::new("NOT_ALLOWED", Code::PermissionDenied, "The caller may not call this method or see this resource.");
/// The caller has made too many calls.
pub const RATE_LIMITED: ErrorKind = ErrorKind::new(
    "RATE_LIMITED",
    Code::ResourceExhausted,
    "The caller has made too many calls. RetryInfo and the trailer grpc-retry-pushback-ms say when the next is admitted.",
);
/// Nobody can tell whether the caller has made too many calls.
pub const RATE_LIMIT_UNAVAILABLE: ErrorKind = ErrorKind::retryable(
    "RATE_LIMIT_UNAVAILABLE",
    Code::Unavailable,
    Duration::from_secs(1),
    "The limit of this method can't be checked at this moment, and nobody passes unchecked. Try again.",
);
/// The port has as many calls as it serves well.
pub const OVERLOADED: ErrorKind = ErrorKind::retryable(
    "OVERLOADED",
    Code::Unavailable,
    Duration::from_millis(100),
    "The server has as many calls in flight as it serves well. Nothing was done. Try another one, or later.",
);
/// The port stops.
pub const SERVER_STOPPING: ErrorKind = ErrorKind::retryable(
    "SERVER_STOPPING",
    Code::Unavailable,
    Duration::from_millis(100),
    "The server stops and ends its streams. Open the stream again, from the token of its last message if it has one.",
);
/// A message is too large.
pub const MESSAGE_TOO_LARGE: ErrorKind = ErrorKind::new(
    "MESSAGE_TOO_LARGE",
    Code::ResourceExhausted,
    "A message of the request has more bytes than the server takes; ErrorInfo says how many it may have.",
);
/// The call's time is over.
pub const DEADLINE_EXCEEDED: ErrorKind = ErrorKind::new(
    "DEADLINE_EXCEEDED",
    Code::DeadlineExceeded,
    "The deadline of the call passed. What it would have changed may have been changed.",
);
/// The request didn't come.
pub const REQUEST_TIMED_OUT: ErrorKind = ErrorKind::new(
    "REQUEST_TIMED_OUT",
    Code::DeadlineExceeded,
    "The first message of the call, or the only one, did not come in time. Nothing was done.",
);
/// The request is no message of its method.
pub const MALFORMED_REQUEST: ErrorKind = ErrorKind::new(
    "MALFORMED_REQUEST",
    Code::InvalidArgument,
    "The request is not what the method takes: its framing, the number of its messages or their encoding. Nothing was \
     done. A message that is marked as compressed without a grpc-encoding is INTERNAL, as gRPC has it.",
);
/// There are too many open streams.
pub const TOO_MANY_STREAMS: ErrorKind = ErrorKind::new(
    "TOO_MANY_STREAMS",
    Code::ResourceExhausted,
    "As many streams are open as may be, of this caller, of its address or of all; ErrorInfo says which. End one first.",
);
/// There are too many messages on their way.
pub const TOO_MANY_BYTES: ErrorKind = ErrorKind::retryable(
    "TOO_MANY_BYTES",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "Too many bytes of messages that are not whole yet come from the caller's address. Send fewer at once.",
);
/// As many audits are being answered as there may be.
pub const AUDITS_BUSY: ErrorKind = ErrorKind::retryable(
    "AUDITS_BUSY",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "The service is being audited, by as many calls as it answers at a time. Try again when one of them has ended.",
);
/// `grpc-timeout` is malformed.
pub const INVALID_TIMEOUT: ErrorKind = ErrorKind::new(
    "INVALID_TIMEOUT",
    Code::Internal,
    "grpc-timeout is one to eight digits and a unit of H, M, S, m, u, n.",
);
/// A handler has panicked.
pub const HANDLER_PANICKED: ErrorKind = ErrorKind::new(
    "HANDLER_PANICKED",
    Code::Internal,
    "The server failed in the middle of the call; its log says why. What it would have changed may have been changed.",
);
/// A dependency does not answer.
pub const DEPENDENCY_UNAVAILABLE: ErrorKind = ErrorKind::retryable(
    "DEPENDENCY_UNAVAILABLE",
    Code::Unavailable,
    Duration::from_millis(500),
    "Something that this service needs does not answer. Nothing was written. Try again.",
);
/// Something failed inside.
pub const INTERNAL: ErrorKind = ErrorKind::new(
    "INTERNAL",
    Code::Internal,
    "Something failed inside; the log tells more under the trace_id of ErrorInfo.",
);

/// The errors that every service may give.
pub const COMMON: &[&ErrorKind] = &[
    &INVALID_FIELDS,
    &REQUEST_ID_REUSED,
    &ETAG_MISMATCH,
    &NOT_SIGNED_IN,
    &BAD_TOKEN,
    &KEYS_UNAVAILABLE,
    &NOT_ALLOWED,
    &DEPENDENCY_UNAVAILABLE,
    &INTERNAL,
];

/// The errors that a service's port answers with by itself, whatever the service.
pub const PORT: &[&ErrorKind] = &[
    &RATE_LIMITED,
    &RATE_LIMIT_UNAVAILABLE,
    &OVERLOADED,
    &SERVER_STOPPING,
    &MESSAGE_TOO_LARGE,
    &DEADLINE_EXCEEDED,
    &INVALID_TIMEOUT,
    &REQUEST_TIMED_OUT,
    &MALFORMED_REQUEST,
    &TOO_MANY_STREAMS,
    &TOO_MANY_BYTES,
    &AUDITS_BUSY,
    &HANDLER_PANICKED,
];

/// The status for a failure that callers can do nothing about. The cause goes to the log, under an id that the caller
/// gets too.
pub fn internal(domain: &str, cause: &dyn Display) -> Status {
    let trace_id = Uuid::new_v4().to_string();
    tracing::error!(trace_id, domain, cause = %cause, "a call failed inside");
    INTERNAL.status(domain, "something failed inside; the log tells more", &[("trace_id", &trace_id)])
}

/// Reasons that appear twice, aren't in UPPER_SNAKE_CASE or are too long: what a service's conformance test expects to
/// be empty.
pub fn faults(table: &[&ErrorKind]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, kind) in table.iter().enumerate() {
        let reason = kind.reason;
        let shape = reason.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !shape || !(2..=63).contains(&reason.len()) {
            faults.push(format!("{reason} is not UPPER_SNAKE_CASE of 2 to 63 characters"));
        }
        if table[..at].iter().any(|other| other.reason == reason) {
            faults.push(format!("{reason} appears twice"));
        }
        if kind.meaning.is_empty() {
            faults.push(format!("{reason} has no meaning"));
        }
    }
    faults
}

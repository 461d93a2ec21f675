//! The errors that a server of the mesh answers with by itself, whatever its services.

use std::time::Duration;

use tonic::Code;

use super::kind::ErrorKind;

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
    "The token is malformed, expired or not signed by the trusted issuer. Refresh the session or sign in again.",
);
/// The keys that verify tokens are not known yet.
pub const KEYS_UNAVAILABLE: ErrorKind = ErrorKind::retryable(
    "KEYS_UNAVAILABLE",
    Code::Unavailable,
    Duration::from_secs(1),
    "The keys that verify tokens can't be fetched from their issuer at this moment. Try again.",
);
/// The caller's role does not suffice.
pub const NOT_ALLOWED: ErrorKind =
    ErrorKind::new("NOT_ALLOWED", Code::PermissionDenied, "The caller may not call this method or see this resource.");
/// The caller's credentials are restricted to other methods.
pub const SCOPE_MISSING: ErrorKind = ErrorKind::new(
    "SCOPE_MISSING",
    Code::PermissionDenied,
    "The caller's key or token is restricted, and not to this method; ErrorInfo names it. Use one whose scopes have the \
     method or its service.",
);
/// The caller's credentials have expired while the call went on.
pub const CREDENTIALS_EXPIRED: ErrorKind = ErrorKind::new(
    "CREDENTIALS_EXPIRED",
    Code::Unauthenticated,
    "The credentials of the call expired while it went on. What it would have changed may have been changed. Refresh the \
     session and open a stream again, from the token of its last message if it has one.",
);
/// Health is asked of a service that the server doesn't have.
pub const SERVICE_UNKNOWN: ErrorKind = ErrorKind::new(
    "SERVICE_UNKNOWN",
    Code::NotFound,
    "Health has no service of that name. The empty name asks for the server as a whole.",
);
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
/// The caller has too many calls in flight.
pub const TOO_MANY_CALLS: ErrorKind = ErrorKind::new(
    "TOO_MANY_CALLS",
    Code::ResourceExhausted,
    "As many calls are in flight as may be, of this caller, of its address or of this method; ErrorInfo says which. \
     Nothing was done. Wait for the end of one first.",
);
/// There are too many open streams.
pub const TOO_MANY_STREAMS: ErrorKind = ErrorKind::new(
    "TOO_MANY_STREAMS",
    Code::ResourceExhausted,
    "As many streams are open as may be, of this caller, of its address or of all; ErrorInfo says which. End one first.",
);
/// Too many streams of health or reflection are open.
pub const TOO_MANY_WATCHES: ErrorKind = ErrorKind::new(
    "TOO_MANY_WATCHES",
    Code::ResourceExhausted,
    "As many streams of health and reflection are open as may be, of this connection, of its address or of all; \
     ErrorInfo says which. End one first, or call Check.",
);
/// There are too many messages on their way.
pub const TOO_MANY_BYTES: ErrorKind = ErrorKind::retryable(
    "TOO_MANY_BYTES",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "Too many bytes of messages that are not whole yet come from the caller's address. Send fewer at once.",
);
/// There are too many answers that nobody reads.
pub const UNREAD_ANSWERS: ErrorKind = ErrorKind::new(
    "UNREAD_ANSWERS",
    Code::ResourceExhausted,
    "Too many bytes of answers wait to be read by the caller, by its address or by all; ErrorInfo says which. What the \
     call would have changed may have been changed. Read what has come, and ask for less at once.",
);
/// The answer is not read.
pub const SLOW_READER: ErrorKind = ErrorKind::new(
    "SLOW_READER",
    Code::ResourceExhausted,
    "The answer was not read in time: no byte of it for as long as the server waits. What the call would have changed \
     may have been changed. Read answers as they come, or ask for less at once.",
);
/// The port stops.
pub const SERVER_STOPPING: ErrorKind = ErrorKind::retryable(
    "SERVER_STOPPING",
    Code::Unavailable,
    Duration::from_millis(100),
    "The server stops and ends its streams. Open the stream again, from the token of its last message if it has one.",
);
/// The headers of the call are too large.
pub const HEADERS_TOO_LARGE: ErrorKind = ErrorKind::new(
    "HEADERS_TOO_LARGE",
    Code::ResourceExhausted,
    "The headers of the call have more bytes than the server takes; ErrorInfo says how many they may have. Nothing was \
     done. Send less metadata.",
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
/// `grpc-timeout` is malformed.
pub const INVALID_TIMEOUT: ErrorKind = ErrorKind::new(
    "INVALID_TIMEOUT",
    Code::Internal,
    "grpc-timeout is one to eight digits and a unit of H, M, S, m, u, n.",
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
     done. As gRPC has it, a number of messages that isn't the method's is UNIMPLEMENTED, and a message that is marked \
     as compressed without a grpc-encoding is INTERNAL.",
);
/// A handler has panicked.
pub const HANDLER_PANICKED: ErrorKind = ErrorKind::new(
    "HANDLER_PANICKED",
    Code::Internal,
    "The server failed in the middle of the call; its log says why. What it would have changed may have been changed.",
);

/// All of them.
pub const TABLE: &[&ErrorKind] = &[
    &NOT_SIGNED_IN,
    &BAD_TOKEN,
    &KEYS_UNAVAILABLE,
    &NOT_ALLOWED,
    &SCOPE_MISSING,
    &CREDENTIALS_EXPIRED,
    &SERVICE_UNKNOWN,
    &RATE_LIMITED,
    &RATE_LIMIT_UNAVAILABLE,
    &OVERLOADED,
    &TOO_MANY_CALLS,
    &TOO_MANY_STREAMS,
    &TOO_MANY_WATCHES,
    &TOO_MANY_BYTES,
    &UNREAD_ANSWERS,
    &SLOW_READER,
    &SERVER_STOPPING,
    &HEADERS_TOO_LARGE,
    &MESSAGE_TOO_LARGE,
    &DEADLINE_EXCEEDED,
    &INVALID_TIMEOUT,
    &REQUEST_TIMED_OUT,
    &MALFORMED_REQUEST,
    &HANDLER_PANICKED,
];

//! Where a response says how it ended.

use http::{HeaderMap, HeaderName};
use tonic::Code;

/// A name that is made once is found without being parsed.
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The names of the codes, in the order of their numbers.
pub const CODE_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The `grpc-status` of `headers`: that of a Trailers-Only response, or of trailers. A value that is no number is
/// UNKNOWN, as in every gRPC library.
pub fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers.get(&GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

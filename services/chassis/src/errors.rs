//! The errors that the services of the shop share; [`ErrorKind`] makes statuses of them.

pub mod store;

use std::fmt::Display;
use std::time::Duration;

pub use meshwork::errors::port::{BAD_TOKEN, KEYS_UNAVAILABLE, NOT_ALLOWED, NOT_SIGNED_IN};
pub use meshwork::errors::{ErrorKind, faults};
use meshwork_aip::errors::{ETAG_MISMATCH, INVALID_FIELDS, REQUEST_ID_REUSED};
use tonic::{Code, Status};
use uuid::Uuid;

/// As many audits are being answered as there may be.
pub const AUDITS_BUSY: ErrorKind = ErrorKind::retryable(
    "AUDITS_BUSY",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "The service is being audited, by as many calls as it answers at a time. Try again when one of them has ended.",
);
/// A dependency does not answer.
pub const DEPENDENCY_UNAVAILABLE: ErrorKind = ErrorKind::retryable(
    "DEPENDENCY_UNAVAILABLE",
    Code::Unavailable,
    Duration::from_millis(500),
    "Something that this service needs does not answer. Nothing was written. Try again.",
);
/// A store was lost in the middle of a write that may be asked for again.
pub const OUTCOME_UNKNOWN: ErrorKind = ErrorKind::retryable(
    "OUTCOME_UNKNOWN",
    Code::Unavailable,
    Duration::from_millis(500),
    "The store was lost in the middle of the write, which may have been made. Send the same request again, with its \
     request_id or etag: it is not made twice.",
);
/// A store was lost in the middle of a write, and the request has nothing by which it is known when it comes again.
pub const WRITE_UNCONFIRMED: ErrorKind = ErrorKind::new(
    "WRITE_UNCONFIRMED",
    Code::Unknown,
    "The store was lost in the middle of the write, which may have been made, and the request had neither a request_id nor an \
     etag. Look at the resource before you ask again.",
);
/// Others are in the way of a write, or of a read, all the time.
pub const STORE_CONTENDED: ErrorKind = ErrorKind::retryable(
    "STORE_CONTENDED",
    Code::Aborted,
    Duration::from_millis(100),
    "Others changed the same at each of several tries. Nothing was written. Try again.",
);
/// What is stored can't be read.
pub const STORE_DAMAGED: ErrorKind = ErrorKind::new(
    "STORE_DAMAGED",
    Code::DataLoss,
    "What is stored can't be understood, or the store lacks what it must have. The log names the place under the trace_id of \
     ErrorInfo; what lies elsewhere is not affected.",
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
    &OUTCOME_UNKNOWN,
    &WRITE_UNCONFIRMED,
    &STORE_CONTENDED,
    &STORE_DAMAGED,
    &INTERNAL,
];

/// The errors that a service's port answers with by itself, beside those of [`meshwork::errors::port`].
pub const PORT: &[&ErrorKind] = &[&AUDITS_BUSY];

/// The status for a failure that callers can do nothing about. The cause goes to the log, under an id that the caller
/// gets too.
pub fn internal(domain: &str, cause: &dyn Display) -> Status {
    let trace_id = Uuid::new_v4().to_string();
    tracing::error!(trace_id, domain, cause = %cause, "a call failed inside");
    INTERNAL.status(domain, "something failed inside; the log tells more", &[("trace_id", &trace_id)])
}

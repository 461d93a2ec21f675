//! A kind of error: a row of a server's table of errors.

use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use super::details::{self, MAX_REASON};

/// A row of a server's table of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The HTTP status that goes with the code (`google/rpc/code.proto`).
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

    /// A status of this kind, by the errors of `domain`: that of a service, such as `orders.example.com`, or a server's
    /// [`Domain`](crate::server::Domain). `metadata` holds every value that the message speaks of.
    ///
    /// Whatever is given, the status stays below 8 KiB: the message is cut at [`MAX_MESSAGE`](super::MAX_MESSAGE)
    /// bytes, and so are values and their number, as [`ErrorKind::details`] says.
    pub fn status(&self, domain: impl AsRef<str>, message: impl Display, metadata: &[(&str, &str)]) -> Status {
        details::status(self.code, message, self.details(domain, metadata))
    }

    /// The details that every status of this kind carries: ErrorInfo with the first 8 values of `metadata`, each of at
    /// most 256 bytes under a key of at most 40, and RetryInfo when the error may pass.
    pub fn details(&self, domain: impl AsRef<str>, metadata: &[(&str, &str)]) -> ErrorDetails {
        details::error_info(domain.as_ref(), self.reason, self.retry_after, metadata)
    }
}

/// Reasons that appear twice, aren't in UPPER_SNAKE_CASE or are too long: what a test of a table expects to be empty.
pub fn faults(table: &[&ErrorKind]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, kind) in table.iter().enumerate() {
        let reason = kind.reason;
        let shape = reason.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !shape || !(2..=MAX_REASON).contains(&reason.len()) {
            faults.push(format!("{reason} is not UPPER_SNAKE_CASE of 2 to 63 characters"));
        }
        if table.iter().take(at).any(|other| other.reason == reason) {
            faults.push(format!("{reason} appears twice"));
        }
        if kind.meaning.is_empty() {
            faults.push(format!("{reason} has no meaning"));
        }
    }
    faults
}

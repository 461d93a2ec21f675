//! How an attacker was answered.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tonic::Code;

use super::wire::Answer;

/// Counts answers by what they were.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    /// Counts an answer, or its lack.
    pub(crate) fn answer(&self, answer: &Result<Answer, h2::Error>) {
        match answer {
            Ok(answer) => self.note(name(answer.code)),
            Err(error) if error.is_go_away() => self.note("goaway"),
            Err(error) if error.is_reset() => self.note("reset"),
            Err(_) => self.note("broken"),
        }
    }

    /// Counts an answer of HTTP.
    pub(crate) fn http(&self, status: u16) {
        self.note(&format!("HTTP {status}"));
    }

    /// Counts something else.
    pub(crate) fn note(&self, what: &str) {
        self.add(what, 1);
    }

    /// Counts some of something.
    pub(crate) fn add(&self, what: &str, count: u64) {
        let mut counts = self.0.lock().unwrap();
        match counts.get_mut(what) {
            Some(known) => *known += count,
            None => {
                counts.insert(what.to_owned(), count);
            }
        }
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().clone()
    }
}

/// A code's name, as gRPC spells it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

//! The record of one request, which becomes one event when the last who knows of the request lets go of it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use http::StatusCode;
use meshwork::server::auth::Principal;
use tokio::time::Instant;
use tonic::Code;

use super::failures::FailureBound;
use crate::adapters::codes::code_name;

/// What is not known, or is of no name.
const NONE: &str = "-";

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// Connect.
    Connect,
    /// HTTP/JSON, by `google.api.http`.
    Json,
    /// Anything else over HTTP: documents, preflights, what is nowhere.
    Http,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Connect => "connect",
            Self::Json => "json",
            Self::Http => "http",
        }
    }
}

/// One request.
pub(super) struct Record {
    pub began: Instant,
    pub request_id: String,
    pub is_sampled: bool,
    pub failures: Arc<FailureBound>,
    pub client: Option<IpAddr>,
    pub http_method: &'static str,
    pub user_agent: Option<String>,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    pub notes: Mutex<Notes>,
}

/// What becomes known of a request on its way.
pub(super) struct Notes {
    pub protocol: Protocol,
    /// What it asks: the path of a method, or of a document. `None` for what is nowhere.
    pub route: Option<String>,
    pub caller: Option<String>,
    pub upstream: Option<String>,
    /// That of its call; `None` where none was made.
    pub code: Option<Code>,
    /// What the answer says in place of an answer of its call.
    pub answer_code: Option<Code>,
    /// Whether the answer ended before its end.
    pub is_cut: bool,
    pub http_status: Option<StatusCode>,
}

/// The code of an error that is answered over HTTP, among the extensions of the answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerCode(pub Code);

/// The code that a request ended with. That a call went well doesn't say that its answer could be told, or arrived.
fn told_code(code: Option<Code>, answer: Option<Code>, is_cut: bool) -> Option<Code> {
    match code {
        Some(Code::Ok) if answer.is_some() => answer,
        Some(Code::Ok) | None if is_cut => Some(Code::Cancelled),
        code => code,
    }
}

impl Record {
    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        // Each change behind the lock is one step.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn caller(&self, principal: Option<&Principal>) {
        let caller = principal.map(|principal| match principal.key() {
            Some(key) => format!("{} key {key}", principal.subject()),
            None => principal.subject().to_owned(),
        });
        self.notes().caller = caller;
    }
}

/// Whether a request failed by what is behind the port, and not by what its caller asked, or how long it would wait.
fn is_failure(code: Option<Code>, http_status: Option<StatusCode>) -> bool {
    match code {
        Some(code) => matches!(code, Code::Unknown | Code::Internal | Code::Unavailable | Code::DataLoss),
        None => http_status.is_some_and(|status| {
            status.is_server_error()
                && !matches!(
                    status,
                    StatusCode::NOT_IMPLEMENTED | StatusCode::GATEWAY_TIMEOUT | StatusCode::HTTP_VERSION_NOT_SUPPORTED
                )
        }),
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let notes = self.notes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Notes { protocol, route, caller, upstream, code, answer_code, is_cut, http_status } = notes;
        let code = &told_code(*code, *answer_code, *is_cut);
        if !(self.is_sampled || is_failure(*code, *http_status) && self.failures.admit()) {
            return;
        }
        let or_none = |text: &Option<String>| text.as_deref().unwrap_or(NONE).to_owned();
        // Its client has gone before there was an answer; there is no other number for that.
        const GONE: u16 = 499;
        tracing::info!(
            target: "meshwork_gateway::access",
            request_id = self.request_id.as_str(),
            caller = or_none(caller),
            client = self.client.map_or_else(|| NONE.to_owned(), |address| address.to_string()),
            protocol = protocol.as_str(),
            http_method = self.http_method,
            route = route.as_deref().unwrap_or("unknown"),
            code = code.map_or(NONE, code_name),
            status = http_status.map_or(GONE, |status| status.as_u16()),
            micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            received = *self.received.get_mut(),
            sent = *self.sent.get_mut(),
            upstream = or_none(upstream),
            user_agent = or_none(&self.user_agent),
            "request"
        );
    }
}

/// Leads to the record of a request, among the extensions of its calls. It keeps no record from its end.
#[derive(Clone)]
pub struct RecordLink(pub(super) Weak<Record>);

impl RecordLink {
    /// Notes the upstream that the call goes to.
    pub fn passed_to(&self, upstream: &str) {
        if let Some(record) = self.0.upgrade() {
            record.notes().upstream = Some(upstream.to_owned());
        }
    }
}

/// Counts bytes of a request's body, or of an answer's.
pub(super) fn count(count: &AtomicU64, bytes: usize) {
    count.fetch_add(bytes as u64, Ordering::Relaxed);
}

pub(super) type SharedRecord = Arc<Record>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_told_is_not_ok() {
        let ok = Some(Code::Ok);
        for (code, answer, is_cut, told) in [
            (ok, None, false, ok),
            (ok, None, true, Some(Code::Cancelled)),
            (ok, Some(Code::OutOfRange), false, Some(Code::OutOfRange)),
            (ok, Some(Code::OutOfRange), true, Some(Code::OutOfRange)),
            (Some(Code::NotFound), Some(Code::NotFound), false, Some(Code::NotFound)),
            (Some(Code::Unavailable), None, true, Some(Code::Unavailable)),
            (None, Some(Code::InvalidArgument), false, None),
            (None, None, true, Some(Code::Cancelled)),
        ] {
            assert_eq!(told_code(code, answer, is_cut), told, "{code:?} {answer:?} {is_cut}");
        }
    }

    #[test]
    fn failures_are_those_of_the_servers() {
        for code in [Code::Unknown, Code::Internal, Code::Unavailable, Code::DataLoss] {
            assert!(is_failure(Some(code), Some(StatusCode::OK)), "{code:?}");
        }
        for code in [Code::Ok, Code::NotFound, Code::Unimplemented, Code::DeadlineExceeded, Code::Cancelled] {
            assert!(!is_failure(Some(code), Some(StatusCode::INTERNAL_SERVER_ERROR)), "{code:?}");
        }
        for (status, is) in [(500, true), (503, true), (404, false), (501, false), (504, false)] {
            assert_eq!(is_failure(None, StatusCode::from_u16(status).ok()), is, "{status}");
        }
        assert!(!is_failure(None, None));
    }
}

//! The access log: one event for each request, at its end, with the target `meshwork_gateway::access`.
//!
//! It says who asked what, by which way, and what came of it, in fields of bounded sizes. It says nothing of queries, credentials,
//! metadata and bodies. What it is written to is the subscriber's business: the program writes to standard error, and a reader of
//! that who stands still holds up the connections whose requests end.

mod body;
mod failures;
mod head;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, Request, Response};
use meshwork::server::{CallHead, CallObserver, CallRecord, CallRecorder, Peer};
use tokio::time::Instant;
use tonic::body::Body;
use uuid::Uuid;

use self::body::{CountedBody, Side};
use self::failures::FailureBound;
use self::head::{is_sampled, method_name, request_id, user_agent};
pub use self::record::{AnswerCode, Protocol, RecordLink};
use self::record::{Notes, Record, SharedRecord};
use super::client::Client;

/// Whether there is a method at a path, `/package.Service/Method`.
type MethodCheck = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Logs requests. Clones are the same log.
#[derive(Clone)]
pub struct AccessLog {
    sample: f64,
    has_method: MethodCheck,
    failures: Arc<FailureBound>,
}

impl AccessLog {
    /// Logs the share `sample` of requests, from 0 to 1, and what the servers fail beside it, up to 100 requests a second.
    /// `has_method` says which paths are named: others are told by nobody but callers.
    pub fn new(sample: f64, has_method: MethodCheck) -> Self {
        Self { sample, has_method, failures: Arc::default() }
    }

    /// Begins the record of a request of HTTP that is no gRPC.
    pub fn begin(&self, request: &Request<Body>, peer: &Peer) -> HttpRecord {
        HttpRecord(self.record(Protocol::Http, request.method(), request.headers(), peer))
    }

    fn record(&self, protocol: Protocol, method: &Method, headers: &HeaderMap, peer: &Peer) -> SharedRecord {
        let fresh = Uuid::new_v4();
        Arc::new(Record {
            began: Instant::now(),
            request_id: request_id(headers, fresh),
            is_sampled: is_sampled(self.sample, fresh),
            failures: Arc::clone(&self.failures),
            client: Client::of(Some(peer)).0,
            http_method: method_name(method),
            user_agent: user_agent(headers),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            notes: Mutex::new(Notes {
                protocol,
                route: None,
                caller: None,
                upstream: None,
                code: None,
                answer_code: None,
                is_cut: false,
                http_status: None,
            }),
        })
    }
}

impl CallObserver for AccessLog {
    /// A call that was made for a request of HTTP has the record of that.
    fn record(&self, head: &mut CallHead<'_>) -> Option<Box<dyn CallRecorder>> {
        let made_for = head.extensions.get::<RecordLink>().and_then(|link| link.0.upgrade());
        let is_own = made_for.is_none();
        let record = made_for.unwrap_or_else(|| {
            let record = AccessLog::record(self, Protocol::Grpc, head.method, head.headers, head.peer);
            head.extensions.insert(RecordLink(Arc::downgrade(&record)));
            record
        });
        if (self.has_method)(head.path) {
            record.notes().route = Some(head.path.to_owned());
        }
        Some(Box::new(Recorder { record, is_own }))
    }
}

/// Notes how a call ended.
struct Recorder {
    record: SharedRecord,
    /// Whether the call is the request, and not one that was made for it.
    is_own: bool,
}

impl CallRecorder for Recorder {
    fn ended(self: Box<Self>, end: &CallRecord<'_>) {
        let record = &self.record;
        record.caller(end.principal);
        let mut notes = record.notes();
        notes.code = Some(end.code);
        if self.is_own {
            notes.http_status = end.http_status;
            record.received.store(end.received, Ordering::Relaxed);
            record.sent.store(end.sent, Ordering::Relaxed);
        }
    }
}

/// The record of a request of HTTP. It ends with the body of the answer, or with the last call that was made for it.
pub struct HttpRecord(SharedRecord);

impl HttpRecord {
    /// Leads calls that are made for the request to this record: an extension of each.
    pub fn link(&self) -> RecordLink {
        RecordLink(Arc::downgrade(&self.0))
    }

    /// Notes how the request came, and what it asks: the path of a method or a document that there is.
    pub fn found(&self, protocol: Protocol, route: Option<&str>) {
        let mut notes = self.0.notes();
        notes.protocol = protocol;
        notes.route = route.map(str::to_owned);
    }

    /// Counts the bytes of the request as they are read.
    pub fn count_request(&self, request: Request<Body>) -> Request<Body> {
        request.map(|body| CountedBody::wrap(body, Side::Request, &self.0))
    }

    /// Notes the status of the answer, and counts its bytes as they are taken; one that isn't taken to its end was cut.
    pub fn count_answer(self, answer: Response<Body>) -> Response<Body> {
        let mut notes = self.0.notes();
        notes.http_status = Some(answer.status());
        notes.answer_code = answer.extensions().get::<AnswerCode>().map(|code| code.0);
        drop(notes);
        answer.map(|body| CountedBody::wrap(body, Side::Answer, &self.0))
    }
}

//! A call from its arrival to the last byte of its answer, and what it holds meanwhile.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Status};

use super::context::ConnectionContext;
use super::origin::CallOrigin;
use super::recording::Recording;
use super::time::CallTime;
use crate::errors::port::SLOW_READER;
use crate::server::accept::OpenCall;
use crate::server::body::trailers;
use crate::server::budget::{Account, Caller, Hold, Resource};
use crate::server::call_observer::{CallEnd, IncomingCall};
use crate::server::drain::call_ended;
use crate::server::panics::run_hook;
use crate::server::plan::MethodPlace;
use crate::server::status_size::bound_status;
use crate::transport::CallGuard;

/// There is no code yet: a call that ends so was cancelled.
const NONE: i32 = -1;

/// A call that is open. Dropped, it is over: its last byte has passed the connection's writer, or its client let go of it.
pub(in crate::server) struct ActiveCall {
    connection: Arc<ConnectionContext>,
    origin: CallOrigin,
    code: AtomicI32,
    /// What an observer is shown at the end.
    observed: Option<(Uri, Instant)>,
    /// What its record is made of, if somebody wants that.
    recording: Option<Box<Recording>>,
    principal: Option<Account>,
    unread: Mutex<Option<Hold>>,
    /// The wait for the end of the server, once the answer had to wait for its client.
    ending: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
    _counted: OpenCall,
    /// Its client may read no longer than that.
    time: CallTime,
    _place: Option<Hold>,
    _watch: Option<MethodPlace>,
    _method: Option<MethodPlace>,
    /// Of a request that is no gRPC.
    http: Option<HttpAnswer>,
}

/// The answer to a request that is no gRPC.
#[derive(Default)]
struct HttpAnswer {
    cut_off: AtomicBool,
    /// The last call that was made for it.
    call: Mutex<Option<Arc<ActiveCall>>>,
}

impl ActiveCall {
    /// A request that is no gRPC begins. No observer is shown it: it is no call.
    pub(super) fn of_http(connection: &Arc<ConnectionContext>, origin: CallOrigin, counted: OpenCall) -> Self {
        Self::new(connection, origin, counted, Some(HttpAnswer::default()))
    }

    /// The call with this head begins; `known` says whether its method is.
    pub(super) fn begin(
        connection: &Arc<ConnectionContext>,
        origin: CallOrigin,
        head: &mut Parts,
        arrival: Arrival,
        known: bool,
    ) -> Self {
        let Arrival { at, counted } = arrival;
        let observers = &connection.pipeline.observers;
        let observed = (!observers.is_empty()).then(|| {
            let call = IncomingCall { path: head.uri.path(), peer: Some(&connection.peer) };
            for observer in observers {
                run_hook("CallObserver::began", || observer.began(&call));
            }
            (head.uri.clone(), at)
        });
        let recording = Recording::begin(connection, &origin, head, (at, known));
        let mut call = Self::new(connection, origin, counted, None);
        call.recording = recording;
        call.observed = observed;
        call
    }

    fn new(
        connection: &Arc<ConnectionContext>,
        origin: CallOrigin,
        counted: OpenCall,
        http: Option<HttpAnswer>,
    ) -> Self {
        Self {
            connection: Arc::clone(connection),
            origin,
            code: AtomicI32::new(NONE),
            observed: None,
            recording: None,
            principal: None,
            unread: Mutex::default(),
            ending: Mutex::default(),
            _counted: counted,
            time: CallTime::default(),
            _place: None,
            _watch: None,
            _method: None,
            http,
        }
    }

    /// Holds a call that was made for it, in place of the one before.
    pub(super) fn hold(&self, call: Arc<Self>) {
        let Some(http) = &self.http else { return };
        let before = http.call.lock().unwrap_or_else(PoisonError::into_inner).replace(call);
        drop(before);
    }

    /// The last call that was made for it, if it is no gRPC.
    fn made(&self) -> Option<Arc<Self>> {
        self.http.as_ref()?.call.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its answer has to end before its time. Whether it is to be cut off for it: what is no gRPC has no status to tell.
    pub(super) fn cut_off(&self) -> bool {
        let Some(http) = &self.http else { return false };
        http.cut_off.store(true, Ordering::Relaxed);
        true
    }

    /// It was admitted: it holds its places to its end, which is at that of `time` at the latest.
    pub(super) fn admit(&mut self, places: Places, time: CallTime) {
        let Places { principal, place, watch, method } = places;
        (self.principal, self.time) = (principal, time);
        (self._place, self._watch, self._method) = (place, watch, method);
    }

    /// The status that it ends with.
    pub(super) fn set_code(&self, code: Code) {
        self.code.store(code as i32, Ordering::Relaxed);
    }

    /// Whom it counts for where callers are told apart by address.
    pub(super) fn origin(&self) -> &CallOrigin {
        &self.origin
    }

    /// What its record is made of, if somebody wants that.
    pub(super) fn recording(&self) -> Option<&Recording> {
        self.recording.as_deref()
    }

    /// Its answer begins.
    pub(super) fn answered(&mut self, status: StatusCode) {
        if let Some(recording) = &mut self.recording {
            recording.answered(status);
        }
    }

    /// These bytes of its answer go to the connection.
    pub(super) fn sent(&self, data: &[u8]) {
        if let Some(recording) = &self.recording {
            recording.sent(data);
        }
    }

    /// Its answer is whole, and had no trailers: to its client it ends with UNKNOWN, unless its head has said more.
    pub(super) fn end_without_trailers(&self) {
        let _ = self.code.compare_exchange(NONE, Code::Unknown as i32, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The trailers that end its answer with `status`.
    fn ended(&self, status: &Status) -> HeaderMap {
        self.set_code(status.code());
        if self.cut_off() {
            return HeaderMap::new();
        }
        let mut headers = trailers(status).into_trailers().unwrap_or_default();
        bound_status(&mut headers);
        headers
    }
}

/// When a call came, and that it counts since then.
pub(super) struct Arrival {
    pub at: Instant,
    pub counted: OpenCall,
}

/// What an admitted call holds.
pub(super) struct Places {
    pub principal: Option<Account>,
    pub place: Option<Hold>,
    /// Of a stream that is open to everybody: its place on the connection.
    pub watch: Option<MethodPlace>,
    pub method: Option<MethodPlace>,
}

impl CallGuard for ActiveCall {
    fn unread(&self, bytes: usize) -> Result<(), HeaderMap> {
        // No count is left half changed by a panic.
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let pipeline = &self.connection.pipeline;
        let counted = match unread.as_mut() {
            Some(hold) => hold.resize(bytes),
            None if bytes == 0 => Ok(()),
            None => {
                // What is no gRPC has the caller of the call that it is the answer of.
                let made = self.made();
                let principal = self.principal.as_ref().or_else(|| made.as_ref()?.principal.as_ref());
                let caller = Caller { address: self.origin.account(&self.connection), principal };
                pipeline.budgets.take(Resource::UnreadBytes, bytes, caller).map(|hold| *unread = Some(hold))
            }
        };
        counted.map_err(|exceeded| {
            *unread = None;
            self.ended(&exceeded.status(pipeline.domain))
        })
    }

    fn stall_limit(&self) -> Duration {
        let limit = self.connection.pipeline.slow_reader;
        // Who reads a byte now and then keeps its place no longer than its call may take.
        self.time.end().map_or(limit, |end| limit.min(end.saturating_duration_since(Instant::now())))
    }

    fn stalled(&self) -> HeaderMap {
        let pipeline = &self.connection.pipeline;
        if self.time.is_over() {
            return self.ended(&self.time.status(pipeline.domain, "before its answer was read"));
        }
        let message =
            format!("nothing of the answer was read for {:?}; read it, or ask for less", pipeline.slow_reader);
        self.ended(&SLOW_READER.status(pipeline.domain, message, &[]))
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<HeaderMap> {
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = ending.get_or_insert_with(|| Box::pin(self.connection.ending.clone().cancelled_owned()));
        ending.as_mut().poll(cx).map(|()| self.ended(&call_ended(self.connection.pipeline.domain)))
    }

    fn is_cut_off(&self) -> bool {
        self.http.as_ref().is_some_and(|http| http.cut_off.load(Ordering::Relaxed))
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        let Some((uri, began)) = self.observed.take() else { return };
        let code = match self.code.load(Ordering::Relaxed) {
            NONE => Code::Cancelled,
            code => Code::from_i32(code),
        };
        let call = IncomingCall { path: uri.path(), peer: Some(&self.connection.peer) };
        // It may be dropped while the connection's locks are held: an observer that panics must not take them with it.
        let end = CallEnd { code, took: began.elapsed() };
        for observer in &self.connection.pipeline.observers {
            run_hook("CallObserver::ended", || observer.ended(&call, &end));
        }
        if let Some(recording) = self.recording.take() {
            recording.end(uri.path(), code);
        }
    }
}

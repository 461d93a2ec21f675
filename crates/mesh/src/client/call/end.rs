//! The end of a call: what it means for its endpoint, and who learns of it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use smallvec::SmallVec;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::answer::is_late;
use super::guard::Guard;
use crate::client::endpoints::ActivePolicy;
use crate::client::retry::AttemptLog;
use crate::client::trace::{AttemptTrace, CallReport, CallTrace, Why};
use crate::observe::{Event, RepeatCounter};
use crate::outcome::{Finish, Outcome};
use crate::transport::TransportError;

/// What learns of the end of a call, once: the endpoint that answered, the trace, the observers, the throttle and the log.
/// Dropped before its end, the call was cancelled.
pub(super) struct CallEnd {
    pub(super) info: CallInfo,
    pub(super) log: AttemptLog,
    pub(super) repeats: RepeatCounter,
    /// Before the first attempt.
    pub(super) waited: Duration,
    /// What the attempt that was answered holds, until the response ends.
    guard: Option<Guard>,
    /// Whether the response began.
    answered: bool,
    /// When the first data of the response came.
    first_data: Option<Instant>,
    /// Whether the end was by the deadline, whatever the stream said.
    expired: bool,
    settled: bool,
}

/// What is known of a call from its beginning.
pub(super) struct CallInfo {
    pub(super) active: Arc<ActivePolicy>,
    pub(super) method: PathAndQuery,
    pub(super) started: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) trace: Option<CallTrace>,
}

impl CallInfo {
    /// A log that keeps the trace up to date, if there is one.
    pub(super) fn log(&self) -> AttemptLog {
        let Some(trace) = self.trace.clone() else { return AttemptLog::new() };
        let begun = self.report(Duration::ZERO, Duration::ZERO, SmallVec::new(), None);
        trace.set(begun.clone());
        let started = self.started;
        AttemptLog::with_sink(move |attempts| {
            trace.set(CallReport { took: started.elapsed(), attempts: attempts.into(), ..begun.clone() });
        })
    }

    fn report(
        &self,
        took: Duration,
        waited: Duration,
        attempts: SmallVec<[AttemptTrace; 1]>,
        code: Option<Code>,
    ) -> CallReport {
        CallReport {
            method: self.method.path().into(),
            target: Arc::clone(&self.active.settings.target),
            took,
            waited,
            timeout: self.deadline.map(|deadline| deadline.saturating_duration_since(self.started)),
            attempts,
            code,
        }
    }
}

impl CallEnd {
    pub(super) fn new(info: CallInfo) -> Self {
        Self {
            info,
            log: AttemptLog::new(),
            repeats: RepeatCounter::default(),
            waited: Duration::ZERO,
            guard: None,
            answered: false,
            first_data: None,
            expired: false,
            settled: false,
        }
    }

    /// The response began; `guard` is what its attempt holds.
    pub(super) fn began(&mut self, guard: Guard) {
        self.guard = Some(guard);
        self.answered = true;
        if let Some(trace) = &self.info.trace {
            trace.set(self.report(self.info.started.elapsed(), None));
        }
    }

    /// The call ended with a status that was made on this side; the status says why.
    pub(super) fn fail(mut self: Box<Self>, status: Status) -> Status {
        let status = self.explain(status);
        let outcome = Outcome::Status(status.code());
        self.finish(outcome);
        status
    }

    fn report(&self, took: Duration, code: Option<Code>) -> CallReport {
        let mut attempts: SmallVec<[AttemptTrace; 1]> = self.log.attempts().into();
        // What few calls need: the name of the endpoint that answered, which all calls to it share the count of.
        if let (Some(guard), Some(answered)) =
            (&self.guard, attempts.iter_mut().rfind(|attempt| attempt.code.is_none()))
        {
            answered.endpoint = Some(Arc::clone(guard.endpoint()));
        }
        self.info.report(took, self.waited, attempts, code)
    }

    /// The call ended at `now`, which is read when it is needed.
    fn settle(&mut self, now: Option<Instant>, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let ok = outcome == Outcome::Status(Code::Ok);
        let (info, settings) = (&self.info, &self.info.active.settings);
        if ok && let Some(throttle) = &info.active.throttle {
            throttle.success();
        }
        // A stream may last as long as it likes: its first message tells whether it was slow, or its end if it has none.
        let first = self.first_data.map(|first| first.saturating_duration_since(info.started));
        let quick = settings.slow_call.is_none_or(|slow| first.is_some_and(|first| first < slow));
        // What nobody asks for isn't worked out.
        if info.trace.is_none() && ok && quick && !settings.observers.is_some() {
            return;
        }
        let took = now.unwrap_or_else(Instant::now).saturating_duration_since(info.started);
        if let Some(trace) = &info.trace {
            trace.set(self.report(took, Some(outcome.code())));
        }
        let repeats = self.repeats.total();
        settings.observers.event(&Event::CallEnded { method: info.method.path(), outcome, took, repeats });
        let first = first.unwrap_or(took);
        // A caller that let go of a stream which had begun knew what it waited for.
        let let_go = self.answered && outcome == Outcome::Cancelled;
        if !let_go && settings.slow_call.is_some_and(|slow| first >= slow) {
            let why = self.report(took, None);
            tracing::info!(target: "meshwork::call", code = ?outcome.code(), first_message = ?first, %why, "slow call");
        } else if !ok && outcome != Outcome::Cancelled {
            let why = self.report(took, None);
            tracing::debug!(target: "meshwork::call", code = ?outcome.code(), %why, "failed call");
        }
    }
}

impl Finish for Box<CallEnd> {
    fn data(&mut self, data: &[u8]) {
        if self.first_data.is_none() && self.info.active.settings.slow_call.is_some() {
            self.first_data = Some(Instant::now());
        }
        if let Some(guard) = &mut self.guard {
            guard.data(data);
        }
    }

    /// With the report of the call as its source.
    fn explain(&mut self, mut status: Status) -> Status {
        let source = status.source().and_then(|source| source.downcast_ref::<TransportError>()).cloned();
        let mut by_caller = matches!(Outcome::of_error(&status), Outcome::Caller(_));
        if source.as_ref().is_some_and(|error| is_late(error, self.info.deadline, Instant::now())) {
            (self.expired, by_caller) = (true, true);
            status = Status::deadline_exceeded("the server ended the response at the deadline of the call");
        }
        let report = self.report(self.info.started.elapsed(), Some(status.code()));
        status.set_source(Arc::new(Why::new(report, source, by_caller)));
        status
    }

    fn finish(mut self, outcome: Outcome) {
        let mut now = None;
        if let Some(guard) = &mut self.guard {
            let end = Instant::now();
            now = Some(end);
            // The server has answered in time: how long its stream may last was for the caller to say.
            guard.finish(
                end,
                match outcome {
                    _ if self.expired => Outcome::Caller(Code::DeadlineExceeded),
                    Outcome::Status(code) => Outcome::of(code, None, None),
                    outcome => outcome,
                },
            );
        }
        let code = if self.expired { Code::DeadlineExceeded } else { outcome.code() };
        self.settle(now, Outcome::Status(code));
    }
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        // The end of its attempt comes before that of the call.
        if let Some(guard) = &mut self.guard {
            guard.cancel();
        }
        self.settle(None, Outcome::Cancelled);
    }
}

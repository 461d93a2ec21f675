//! One call: its policy, its deadline, its attempts, and what is told of it.

mod attempt;
mod body;

use std::sync::Arc;
use std::time::Duration;

use http::header::{Entry, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use smallvec::SmallVec;
use tokio::time::Instant;
use tonic::{Code, Status};

use self::attempt::{AttemptSender, rounded};
use self::body::{CallBody, since};
use crate::bodies::{LengthLimitedBody, Lengths};
use crate::client::endpoints::{ActivePolicy, ChannelHandle, TriedEndpoints};
use crate::client::retry::{self, AttemptLog, Plan};
use crate::client::trace::{AttemptTrace, CallReport, CallTrace, Why};
use crate::deadline::{self, GRPC_TIMEOUT};
use crate::observe::Event;
use crate::outcome::Outcome;
use crate::transport::TransportError;

/// Whether a call waits while no endpoint can take it; in the extensions of a request it overrides the policy.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshwork::WaitForReady(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// Makes one call. `incoming` is the deadline of the call that it is part of, as it was when the call was made: the future may
/// be polled in another task.
pub(crate) async fn call(
    channel: Arc<ChannelHandle>,
    mut request: http::Request<tonic::body::Body>,
    incoming: Option<Instant>,
) -> Result<http::Response<tonic::body::Body>, Status> {
    let started = Instant::now();
    let shared = &*channel.state;
    let active = shared.active.load_full();
    let method = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let policy = Arc::clone(active.policy.method(method.path()));
    let deadline = deadline::effective(request.headers(), policy.timeout, started)?;
    let deadline = deadline.into_iter().chain(incoming).min();
    // Nobody below needs them, and they would be cloned with each attempt.
    let extensions = std::mem::take(request.extensions_mut());
    let wait = extensions.get().map(|WaitForReady(wait)| *wait).or(policy.wait_for_ready).unwrap_or(false);
    let timeout = deadline.map(|deadline| rounded(deadline.saturating_duration_since(started)));
    complete(request.headers_mut(), timeout, &active.fixed.user_agent);
    shared.used(started);
    active.fixed.observers.event(&Event::CallStarted { method: method.path() });
    let trace = extensions.get::<CallTrace>().cloned();
    let told = CallInfo { active, method, started, deadline, trace };
    let mut end = CallEnd { log: told.log(), told, waited: Duration::ZERO, settled: false };
    if let Some(rate) = &end.told.active.rate {
        let limited = rate.acquire(deadline).await;
        end.waited = since(started);
        if let Err(status) = limited {
            return Err(end.fail(status));
        }
    }
    let request = match policy.max_request_message_bytes {
        Some(limit) if !http_body::Body::is_end_stream(request.body()) => {
            request.map(|body| tonic::body::Body::new(LengthLimitedBody::request(body, limit)))
        }
        _ => request,
    };
    let result = {
        let CallInfo { active, method, .. } = &end.told;
        let plan = Plan {
            repeat: &policy.repeat,
            attempt_timeout: policy.attempt_timeout,
            deadline,
            wait_for_ready: wait,
            throttle: active.throttle.as_deref(),
            budget: active.budget.as_deref(),
            buffers: &active.fixed.buffers,
            random: &active.fixed.random,
            observers: &active.fixed.observers,
            method,
        };
        retry::run(
            AttemptSender { shared, active, method, timeout, tried: TriedEndpoints::default() },
            request,
            &plan,
            &mut end.log,
        )
        .await
    };
    match result {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let end = match body.ended() {
                Some(code) => {
                    end.finish(Outcome::Status(code));
                    None
                }
                None => {
                    end.began();
                    Some(end)
                }
            };
            let lengths = policy.max_response_message_bytes.map(Lengths::of_response);
            Ok(http::Response::from_parts(head, tonic::body::Body::new(CallBody::new(body, deadline, lengths, end))))
        }
        Err(error) => Err(end.fail(error.status)),
    }
}

/// Adds what each attempt sends to the metadata of the call, where there still is room for it: a clone has none to spare.
fn complete(headers: &mut HeaderMap, timeout: Option<Duration>, user_agent: &HeaderValue) {
    if let Some(timeout) = timeout {
        headers.insert(&GRPC_TIMEOUT, deadline::encode_timeout(timeout));
    }
    if let Entry::Vacant(vacant) = headers.entry(USER_AGENT) {
        vacant.insert(user_agent.clone());
    }
}

/// What is told at the end of a call, once: to the trace, the observers, the throttle and the log. Dropped before its
/// end, the call was cancelled.
pub(crate) struct CallEnd {
    told: CallInfo,
    log: AttemptLog,
    /// Before the first attempt.
    waited: Duration,
    settled: bool,
}

struct CallInfo {
    active: Arc<ActivePolicy>,
    method: PathAndQuery,
    started: Instant,
    deadline: Option<Instant>,
    trace: Option<CallTrace>,
}

impl CallInfo {
    /// A log that keeps a trace up to date, if somebody holds one.
    fn log(&self) -> AttemptLog {
        let Some(trace) = self.trace.clone() else { return AttemptLog::new() };
        let begun = self.report(Duration::ZERO, SmallVec::new(), None);
        trace.set(begun.clone());
        let started = self.started;
        AttemptLog::with_sink(move |attempts| {
            trace.set(CallReport { took: since(started), attempts: attempts.into(), ..begun.clone() });
        })
    }

    fn report(&self, waited: Duration, attempts: SmallVec<[AttemptTrace; 1]>, code: Option<Code>) -> CallReport {
        CallReport {
            method: self.method.path().into(),
            target: Arc::clone(&self.active.fixed.target),
            took: since(self.started),
            waited,
            timeout: self.deadline.map(|deadline| deadline.saturating_duration_since(self.started)),
            attempts,
            code,
        }
    }
}

impl CallEnd {
    /// The response began.
    fn began(&self) {
        if let Some(trace) = &self.told.trace {
            trace.set(self.report(None));
        }
    }

    /// The call ended.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    /// The call ended with a status that the mesh made; the status tells why.
    pub(crate) fn fail(mut self, mut status: Status) -> Status {
        let source =
            std::error::Error::source(&status).and_then(|source| source.downcast_ref::<TransportError>()).cloned();
        status.set_source(Arc::new(Why { report: self.report(Some(status.code())), source }));
        self.settle(Outcome::Status(status.code()));
        status
    }

    fn report(&self, code: Option<Code>) -> CallReport {
        self.told.report(self.waited, self.log.attempts().into(), code)
    }

    fn settle(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let ok = outcome == Outcome::Status(Code::Ok);
        if ok && let Some(throttle) = &self.told.active.throttle {
            throttle.success();
        }
        let told = &self.told;
        let slow = told.active.fixed.slow_call;
        // What nobody asks for isn't worked out.
        if told.trace.is_none() && ok && slow.is_none() && !told.active.fixed.observers.is_some() {
            return;
        }
        let took = since(told.started);
        if let Some(trace) = &told.trace {
            trace.set(self.report(Some(outcome.code())));
        }
        told.active.fixed.observers.event(&Event::CallEnded { method: told.method.path(), outcome, took });
        if slow.is_some_and(|slow| took >= slow) {
            tracing::info!(target: "meshwork::call", code = ?outcome.code(), why = %self.report(None), "slow call");
        } else if !ok && outcome != Outcome::Cancelled {
            tracing::debug!(target: "meshwork::call", code = ?outcome.code(), why = %self.report(None), "failed call");
        }
    }
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        self.settle(Outcome::Cancelled);
    }
}

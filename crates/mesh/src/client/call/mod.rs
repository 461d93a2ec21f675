//! One call: its policy, its deadline, its attempts, and its end.

mod answer;
mod attempt;
mod end;
mod guard;
mod limits;
mod queued;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, Entry, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use self::answer::AttemptBody;
use self::end::{CallEnd, CallInfo};
use self::limits::MessageLimits;
use self::sender::{AttemptSender, rounded};
use crate::bodies::{DeadlineBody, LengthLimitedBody};
use crate::client::endpoints::{ChannelHandle, TriedEndpoints};
use crate::client::retry::{self, Buffers, NoRetry, Plan, Repeatable, RequestIdRule, RequestIds, Unbuffered};
use crate::client::trace::CallTrace;
use crate::deadline::{self, GRPC_TIMEOUT};
use crate::observe::Event;
use crate::outcome::{Finish as _, Outcome, TrackedBody};
use crate::policy::Repeat;
use crate::transport::ReceiveBody;

/// Whether a call waits while no endpoint can take it; in the extensions of a request it overrides the policy.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshwork::WaitForReady(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// The response of a call: it keeps the deadline and the limit of its messages, and its end is the end of the call.
type CallBody = TrackedBody<LengthLimitedBody<DeadlineBody<ReceiveBody>>, Box<CallEnd>>;

/// Makes one call. `incoming` is the deadline of the call that it is part of, as it was when the call was made: the future may
/// be polled in another task.
pub(crate) async fn call(
    channel: Arc<ChannelHandle>,
    mut request: http::Request<Body>,
    incoming: Option<Instant>,
) -> Result<http::Response<Body>, Status> {
    let started = Instant::now();
    let state = &channel.state;
    let method = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let own = deadline::effective(request.headers(), None, started)?;
    // Nobody below needs them, and they would be cloned with each attempt.
    let extensions = std::mem::take(request.extensions_mut());
    let trace = extensions.get::<CallTrace>().cloned();
    let mut wait_for_ready = extensions.get().map(|WaitForReady(wait)| *wait);
    let ids = extensions.get::<RequestIds>().copied();
    let once = extensions.get::<NoRetry>().is_some();
    let unbuffered = extensions.get::<Unbuffered>().map(|_| Arc::new(Buffers::new(0, 0)));
    drop(extensions);

    let active = state.active.load_full();
    // In a box from the start: it goes from the call into the body of the response, and into tonic's.
    let mut end = Box::new(CallEnd::new(CallInfo { active, method, started, deadline: None, trace }));
    let policy = &**end.info.active.policy.method(end.info.method.path());
    let settings = &*end.info.active.settings;
    let at = policy.timeout.and_then(|timeout| started.checked_add(timeout));
    let deadline = [own, incoming, at].into_iter().flatten().min();
    end.info.deadline = deadline;
    wait_for_ready = wait_for_ready.or(policy.wait_for_ready);
    let timeout = deadline.map(|deadline| rounded(deadline.saturating_duration_since(started)));
    complete(request.headers_mut(), timeout, &settings.user_agent);
    state.used(started);
    settings.observers.event(&Event::CallStarted { method: end.info.method.path() });
    if end.info.trace.is_some() {
        end.log = end.info.log();
    }
    let mut now = started;
    if let Some(rate) = &end.info.active.rate
        && !rate.try_acquire()
    {
        let limited = rate.acquire(deadline).await;
        now = Instant::now();
        end.waited = now.saturating_duration_since(started);
        if let Err(status) = limited {
            return Err(end.fail(status));
        }
    }
    let limits = MessageLimits::new(settings, policy);
    limits.request(request.body_mut());
    let repeat = if once { &Repeat::Once } else { &policy.repeat };
    // What is never repeated needs none.
    let id = policy.request_id.filter(|_| *repeat != Repeat::Once);
    let id = id.map(|field| RequestIdRule::new(field, ids.unwrap_or(settings.request_ids), limits.request));
    let tried = TriedEndpoints::default();
    let (active, method) = (&*end.info.active, &end.info.method);
    let plan = Plan {
        now,
        repeat,
        attempt_timeout: policy.attempt_timeout,
        deadline,
        wait_for_ready: wait_for_ready.unwrap_or(false),
        throttle: active.throttle.as_deref(),
        budget: active.budget.as_deref(),
        buffers: unbuffered.as_ref().unwrap_or(&settings.buffers),
        random: &settings.random,
        observers: &settings.observers,
        repeats: Some(&end.repeats),
        method,
    };
    let sender = AttemptSender { state, active, method, started, timeout, tried: &tried };
    let result = {
        let request = Repeatable::new(request, plan.buffers, id);
        retry::run(sender, &request, &plan, &mut end.log).await
    };
    match result {
        Ok(response) => {
            let bounded = |body| limits.response(DeadlineBody::new(body, deadline));
            Ok(response.map(|body| match body {
                AttemptBody::Began(body, guard) => {
                    end.began(guard);
                    Body::new(CallBody::new(bounded(body), end))
                }
                AttemptBody::Ended(code, body) => {
                    end.finish(Outcome::Status(code));
                    body.map_or_else(Body::empty, |body| Body::new(CallBody::ended_at_headers(bounded(body), code)))
                }
            }))
        }
        Err(error) => Err(end.fail(error.status)),
    }
}

/// Adds what each attempt sends to the metadata of the call, where there still is room for it: a clone has none to spare.
fn complete(headers: &mut HeaderMap, timeout: Option<Duration>, user_agent: &HeaderValue) {
    // Of another request, by a caller that passes on what it got. A server resets a stream whose data isn't as long as that, and
    // would be charged for it.
    headers.remove(CONTENT_LENGTH);
    if let Some(timeout) = timeout {
        headers.insert(&GRPC_TIMEOUT, deadline::encode_timeout(timeout));
    }
    if let Entry::Vacant(vacant) = headers.entry(USER_AGENT) {
        vacant.insert(user_agent.clone());
    }
}

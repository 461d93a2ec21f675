//! An attempt that no endpoint could take at once: it waits in the queue of the channel for its turn.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::time::Instant;
use tonic::Status;

use super::guard::Guard;
use super::sender::AttemptSender;
use crate::breaker::Admission;
use crate::client::endpoints::{ChannelState, Feedback, Picked};
use crate::client::retry::{AttemptContext, AttemptError, RequestBody};
use crate::limit::Permit;
use crate::observe::Connectivity;
use crate::transport::{Exchange, StreamSlot, Waiter};

/// How many endpoints an error names.
const NAMED: usize = 4;

/// An attempt that waits for an endpoint.
pub(super) struct QueuedAttempt<'a> {
    sender: AttemptSender<'a>,
    request: Request<RequestBody>,
    context: AttemptContext,
    waiter: Waiter,
}

/// Where a queued attempt goes, and what it holds there.
struct Placement {
    permit: Option<Permit>,
    feedback: Arc<Feedback>,
    admission: Admission,
    slot: StreamSlot,
    at: Instant,
}

/// What came of waiting.
pub(super) struct Dequeued {
    /// The request on its way, unless sending it failed, and what is held on the endpoint; or why no endpoint takes it.
    pub(super) result: Result<(Result<Exchange<RequestBody>, AttemptError>, Guard), AttemptError>,
    /// How often an endpoint was picked.
    pub(super) picks: u32,
}

impl<'a> QueuedAttempt<'a> {
    /// Joins the queue at its end, if it has room.
    pub(super) fn join(
        sender: AttemptSender<'a>,
        request: Request<RequestBody>,
        context: AttemptContext,
    ) -> Result<Self, AttemptError> {
        match sender.state.queue.join() {
            Some(waiter) => Ok(Self { sender, request, context, waiter }),
            None => Err(AttemptError::last(Status::unavailable(format!(
                "as many calls wait for an endpoint of {} as max_queued_calls of the channel allows: {}",
                sender.state.settings.target,
                reason(sender.state)
            )))),
        }
    }

    /// Waits for an endpoint and sends the request. Bounded by the deadline, if there is one, which whoever polls this keeps;
    /// how many wait is bounded by the queue.
    pub(super) async fn sent(mut self) -> Dequeued {
        let mut picks = 1;
        let placed = self.place(&mut picks).await;
        let Self { sender, mut request, context, .. } = self;
        let result = placed.map(|Placement { permit, feedback, admission, slot, at }| {
            let queued = at.saturating_duration_since(context.now);
            let guard = sender.guard(feedback, admission, permit, &context, (at, queued));
            guard.count(request.body_mut());
            (sender.send(slot, request, context.deadline, at), guard)
        });
        Dequeued { result, picks }
    }

    /// Waits for a place in the order of coming, and picks when it is its turn.
    async fn place(&mut self, picks: &mut u32) -> Result<Placement, AttemptError> {
        let Self { sender, request, context, waiter } = self;
        let (state, headers) = (sender.state, request.headers());
        poll_fn(|cx| {
            waiter.poll(cx.waker(), |turn| {
                // Registered by now: a runtime that ends after this look has it look again, and wake the channel on its own.
                state.wake();
                let wait_for_ready = context.wait_for_ready && !state.is_closed();
                if !turn {
                    let failed = if wait_for_ready { None } else { state.snapshot.load().failure() };
                    return failed.map(|message| Err(AttemptError::unavailable(&message)));
                }
                *picks += 1;
                let permit = match sender.permit() {
                    Ok(permit) => permit,
                    Err(error) => return Some(Err(error)),
                };
                let at = Instant::now();
                match sender.pick(headers, at) {
                    Picked::Endpoint(feedback, admission, slot) => {
                        Some(Ok(Placement { permit, feedback, admission, slot, at }))
                    }
                    Picked::Fail(message) if !wait_for_ready => Some(Err(AttemptError::unavailable(&message))),
                    Picked::Fail(_) | Picked::Wait => None,
                }
            })
        })
        .await
    }
}

/// The deadline of the call passed while no endpoint took it.
pub(super) fn too_late(state: &ChannelState, waited: Duration) -> AttemptError {
    let why = reason(state);
    let message = format!("no endpoint took the call within its deadline; it waited {waited:?}: {why}");
    AttemptError::last(Status::deadline_exceeded(message))
}

/// Why no endpoint takes a call at this moment.
fn reason(state: &ChannelState) -> String {
    let snapshot = state.snapshot.load();
    if let Some(message) = snapshot.failure() {
        return message.to_string();
    }
    let target = &state.settings.target;
    if !snapshot.members.is_empty() {
        return format!("as many calls as its servers allow are under way to {target}");
    }
    let mut connecting = Vec::new();
    let mut failed = Vec::new();
    for endpoint in state.endpoints(Instant::now()) {
        match (endpoint.state, endpoint.error) {
            (Connectivity::Idle | Connectivity::Connecting, _) => connecting.push(endpoint.name.to_string()),
            (_, Some(error)) => failed.push(error),
            (_, None) => failed.push(format!("{}: not connected", endpoint.name)),
        }
    }
    if connecting.is_empty() && failed.is_empty() {
        return format!("{target} has not been resolved yet");
    }
    let mut reasons = Vec::new();
    if !connecting.is_empty() {
        reasons.push(format!("connecting to {}", some_of(&connecting, ", ")));
    }
    if !failed.is_empty() {
        reasons.push(some_of(&failed, "; "));
    }
    reasons.join("; ")
}

/// The first few of `names`, and how many more there are.
fn some_of(names: &[String], separator: &str) -> String {
    let mut text = names[..names.len().min(NAMED)].join(separator);
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}

//! From a call to a place for its stream: pick, ask the circuit breaker, reserve.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::member::{Feedback, Member};
use super::snapshot::{Otherwise, Snapshot};
use crate::breaker::Admission;
use crate::client::balance::{PickArgs, select};
use crate::transport::StreamSlot;

/// What came of a pick.
pub(crate) enum Picked {
    /// An endpoint takes the call: where it reports to, and its places with the breaker and on a connection.
    Endpoint(Arc<Feedback>, Admission, StreamSlot),
    /// None can at the moment.
    Wait,
    /// None can, and none is about to.
    Fail(Arc<str>),
}

/// How many endpoints of a call are remembered: more than the attempts that a policy may make.
const REMEMBERED: usize = 8;

/// The endpoints that a call's attempts went to, hedges and attempts that had to wait among them. They are told apart by
/// their address in memory, which costs a call nothing to keep; should another endpoint come to have it, a retry just goes
/// elsewhere.
#[derive(Debug, Default)]
pub(crate) struct TriedEndpoints {
    /// How many were added; beyond [`REMEMBERED`] the oldest gives way.
    added: AtomicUsize,
    /// Zero: none.
    ids: [AtomicUsize; REMEMBERED],
}

impl TriedEndpoints {
    /// An attempt goes to the endpoint of `feedback`.
    pub(crate) fn add(&self, feedback: &Feedback) {
        if !self.contains(feedback) {
            let added = self.added.fetch_add(1, Ordering::Relaxed);
            self.ids[added % REMEMBERED].store(Self::id(feedback), Ordering::Relaxed);
        }
    }

    /// Whether an attempt of the call went to the endpoint of `feedback`.
    pub(crate) fn contains(&self, feedback: &Feedback) -> bool {
        let id = Self::id(feedback);
        !self.is_empty() && self.ids.iter().any(|other| other.load(Ordering::Relaxed) == id)
    }

    fn is_empty(&self) -> bool {
        self.added.load(Ordering::Relaxed) == 0
    }

    /// What stays the same as long as the endpoint is there.
    fn id(feedback: &Feedback) -> usize {
        Arc::as_ptr(&feedback.load).addr()
    }
}

impl Snapshot {
    /// Why calls fail at once, if they do.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        let Otherwise::Fail(message) = &self.otherwise else { return None };
        if self.members.is_empty() {
            return Some(Arc::clone(message));
        }
        let now = Instant::now();
        let rejects =
            |member: &Arc<Member>| member.feedback.breaker.as_ref().is_some_and(|breaker| breaker.rejects(now));
        self.members.iter().all(rejects).then(|| circuits_open(self.members.len()))
    }

    /// Picks without waiting: what the picker chose or, where the call has been there or it can't take the attempt after
    /// all since the snapshot is a little old, another one by [`select`].
    pub(crate) fn pick(&self, call: &PickArgs<'_>, tried: &TriedEndpoints) -> Picked {
        let count = self.members.len();
        if count == 0 {
            return match &self.otherwise {
                Otherwise::Wait => Picked::Wait,
                Otherwise::Fail(message) => Picked::Fail(Arc::clone(message)),
            };
        }
        let mut rejected = 0;
        let is_tried = (!tried.is_empty()).then_some(|index: usize| tried.contains(&self.members[index].feedback));
        let picked = select(&*self.picker, call, &self.candidates, is_tried, |index| {
            let member = &self.members[index];
            let breaker = member.feedback.breaker.as_ref();
            // Asked first without taking anything: a place that was taken and given back would wake who waits for one.
            if breaker.is_some_and(|breaker| breaker.rejects(call.now)) {
                rejected += 1;
                return None;
            }
            // The place comes before the probe: one that then had no place would have kept others from probing.
            let slot = member.subchannel.reserve().ok()?;
            match breaker.map_or(Admission::Closed { round: 0 }, |breaker| breaker.admit(call.now)) {
                Admission::Rejected { .. } => {
                    rejected += 1;
                    None
                }
                admission => Some(Picked::Endpoint(Arc::clone(&member.feedback), admission, slot)),
            }
        });
        match picked {
            Some(picked) => picked,
            None if rejected == count && matches!(self.otherwise, Otherwise::Fail(_)) => {
                Picked::Fail(circuits_open(count))
            }
            None => Picked::Wait,
        }
    }
}

/// Why no endpoint takes the call when the circuits of all are open.
pub(crate) fn circuits_open(count: usize) -> Arc<str> {
    match count {
        1 => "the circuit breaker of the only endpoint is open: it failed too often, and is tried again in a while".into(),
        _ => format!("the circuit breakers of all {count} endpoints are open: they failed too often, and are tried again in a while").into(),
    }
}

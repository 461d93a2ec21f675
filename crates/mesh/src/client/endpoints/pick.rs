//! From a call to a place for its stream: pick, ask the circuit breaker, reserve.

use std::sync::Arc;

use tokio::time::Instant;

use super::member::Member;
use super::snapshot::{Otherwise, Snapshot};
use crate::breaker::Admission;
use crate::client::balance::PickArgs;
use crate::transport::StreamSlot;

/// What came of a pick.
pub(crate) enum Picked {
    /// This member takes the call.
    Member(Arc<Member>, Admission, StreamSlot),
    /// None can at the moment.
    Wait,
    /// None can, and none is about to.
    Fail(Arc<str>),
}

/// The endpoints that had the last attempts of a call. They are told apart by their address in memory, which costs a call
/// nothing to keep; should another endpoint come to have it, a retry just goes elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TriedEndpoints([usize; 3]);

impl TriedEndpoints {
    /// `member` has an attempt.
    pub(crate) fn add(&mut self, member: &Member) {
        self.0.rotate_right(1);
        self.0[0] = Self::id(member);
    }

    fn contains(&self, member: &Member) -> bool {
        self.0.contains(&Self::id(member))
    }

    /// What stays the same as long as the endpoint is there.
    fn id(member: &Member) -> usize {
        Arc::as_ptr(&member.load).addr()
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
        let rejects = |member: &Arc<Member>| member.breaker.as_ref().is_some_and(|breaker| breaker.rejects(now));
        self.members.iter().all(rejects).then(|| circuits_open(self.members.len()))
    }

    /// Picks without waiting: first among the endpoints that the call has not `tried`, then among those that it has. What
    /// the picker chose may be unable after all, since the snapshot is a little old: then the next one in order is tried.
    pub(crate) fn pick(&self, call: &PickArgs<'_>, tried: &TriedEndpoints) -> Picked {
        let count = self.members.len();
        if count == 0 {
            return match &self.otherwise {
                Otherwise::Wait => Picked::Wait,
                Otherwise::Fail(message) => Picked::Fail(Arc::clone(message)),
            };
        }
        let first = self.picker.pick(call, &self.candidates);
        let mut rejected = 0;
        for step in 0..2 * count {
            let member = &self.members[first.wrapping_add(step) % count];
            if tried.contains(member) != (step >= count) {
                continue;
            }
            // Asked first without taking anything: a place that was taken and given back would wake who waits for one.
            if member.breaker.as_ref().is_some_and(|breaker| breaker.rejects(call.now)) {
                rejected += 1;
                continue;
            }
            // The place comes before the probe: one that then had no place would have kept others from probing.
            let Ok(slot) = member.subchannel.reserve() else { continue };
            match member.breaker.as_ref().map_or(Admission::Closed { round: 0 }, |breaker| breaker.admit(call.now)) {
                Admission::Rejected { .. } => rejected += 1,
                admission => return Picked::Member(Arc::clone(member), admission, slot),
            }
        }
        if rejected == count && matches!(self.otherwise, Otherwise::Fail(_)) {
            return Picked::Fail(circuits_open(count));
        }
        Picked::Wait
    }
}

/// Why no endpoint takes the call when the circuits of all are open.
pub(crate) fn circuits_open(count: usize) -> Arc<str> {
    match count {
        1 => "the circuit breaker of the only endpoint is open: it failed too often, and is tried again in a while".into(),
        _ => format!("the circuit breakers of all {count} endpoints are open: they failed too often, and are tried again in a while").into(),
    }
}

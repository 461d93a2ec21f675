//! Makes the snapshot that calls pick from, with the reason when there is no endpoint for them.

use std::sync::Arc;

use tokio::time::Instant;

use super::pick::circuits_open;
use super::set::EndpointSet;
use super::snapshot::{Otherwise, Snapshot};
use super::state::EndpointView;
use crate::client::balance::Candidate;
use crate::observe::{Circuit, Connectivity};

/// How many endpoints an error names.
const NAMED: usize = 4;

/// Why endpoints can't take calls: of the first few, and of how many more. Of a thousand endpoints that are down not each is put
/// into words whenever one of them changes.
#[derive(Default)]
struct Reasons {
    named: Vec<String>,
    more: usize,
}

impl Reasons {
    fn add(&mut self, reason: impl FnOnce() -> String) {
        if self.named.len() < NAMED {
            self.named.push(reason());
        } else {
            self.more += 1;
        }
    }
}

impl EndpointSet {
    /// Publishes the snapshot of this moment. True when an endpoint was lost or can't be reached, so that a new resolution
    /// may help.
    pub(super) fn publish(&mut self) -> bool {
        let now = Instant::now();
        let mut lost = false;
        let replaced = self.replaced.iter_mut().flat_map(|replaced| &mut replaced.endpoints);
        for endpoint in self.endpoints.values_mut().chain(replaced) {
            lost |= endpoint.update();
        }
        self.end_replacement(now);

        let mut candidates = Vec::new();
        let mut members = Vec::new();
        let mut views = Vec::new();
        let mut reasons = Reasons::default();
        let (mut open, mut connected, mut absent) = (0, 0, 0);
        let mut pending = self.resolution.is_none() && self.failure.is_none();
        let endpoints = self.selectable();
        for endpoint in &endpoints {
            let (member, feedback) = (&endpoint.member, &endpoint.member.feedback);
            let ejected = self.outliers.is_ejected(&endpoint.key);
            // Asked of each, so that none has a time in the past that would wake this task again and again.
            let circuit = feedback.breaker.as_ref().map_or(Circuit::Closed, |breaker| breaker.state(now));
            let open_circuit = circuit == Circuit::Open;
            views.push(EndpointView { member: Arc::clone(member), ejected, open: open_circuit });
            let answers = endpoint.is_ready() && !ejected;
            connected += usize::from(answers);
            absent += usize::from(!answers && circuit != Circuit::Closed);
            if answers && open_circuit {
                open += 1;
                reasons.add(|| format!("{}: its circuit breaker is open", feedback.name));
            } else if answers {
                candidates.push(Candidate::new(Arc::clone(&member.endpoint), Arc::clone(&feedback.load)));
                members.push(Arc::clone(member));
            } else if endpoint.is_ready() {
                reasons.add(|| format!("{}: ejected as an outlier", feedback.name));
            } else if endpoint.failed {
                reasons.add(|| match &endpoint.state.error {
                    Some(error) => error.to_string(),
                    None => format!("{}: not connected", feedback.name),
                });
            } else {
                pending = true;
            }
        }
        let active = self.state.active.load();
        let percent = active.policy.channel().circuit_breaker.as_ref().map_or(0, |breaker| breaker.max_open_percent);
        self.share.set(percent, connected, absent);
        let otherwise = if pending {
            Otherwise::Wait
        } else if open > 0 && open == endpoints.len() {
            Otherwise::Fail(circuits_open(open))
        } else {
            Otherwise::Fail(self.unavailable(endpoints.is_empty(), &reasons).into())
        };
        let connectivity = match &otherwise {
            _ if !members.is_empty() => Connectivity::Ready,
            Otherwise::Wait => Connectivity::Connecting,
            Otherwise::Fail(_) => Connectivity::TransientFailure,
        };
        if let Some(picker) = self.picker.rebuild(&candidates) {
            self.picker = picker;
        }
        let picker = Arc::clone(&self.picker);
        self.state.publish(Snapshot { candidates, members, picker, otherwise, connectivity }, views);
        lost
    }

    /// Why no endpoint can take calls.
    fn unavailable(&self, none: bool, reasons: &Reasons) -> String {
        let target = &self.state.settings.target;
        match (&self.failure, none) {
            (Some(failure), true) => format!("{target} could not be resolved: {failure}"),
            (None, true) => format!("{target} has no endpoints at the moment"),
            _ => {
                let named = reasons.named.join("; ");
                let more = if reasons.more > 0 { format!("; and {} more", reasons.more) } else { String::new() };
                format!("no endpoint of {target} can take calls: {named}{more}")
            }
        }
    }
}

//! What calls and the task of a channel share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::member::Member;
use super::snapshot::{Otherwise, Snapshot};
use crate::client::balance::{Picker, RoundRobin};
use crate::client::retry::{Budget, Buffers, Throttle};
use crate::limit::{ConcurrencyLimit, RateLimit};
use crate::observe::{Circuit, Connectivity, Observers};
use crate::policy::{Descriptors, Policy};
use crate::random::Random;
use crate::transport::WaitQueue;

/// What calls and the task of a channel share.
pub(crate) struct ChannelState {
    pub fixed: Arc<ChannelSettings>,
    pub authority: Authority,
    pub scheme: Scheme,
    pub snapshot: ArcSwap<Snapshot>,
    /// Notified at each new snapshot.
    pub changed: watch::Sender<()>,
    /// Calls that no endpoint could take at once.
    pub queue: Arc<WaitQueue>,
    /// All endpoints.
    pub listed: ArcSwap<Vec<ListedEndpoint>>,
    pub active: ArcSwap<ActivePolicy>,
    /// Asks the task to begin.
    pub kick: Notify,
    pub descriptors: Option<Descriptors>,
    pub since: Instant,
    /// When the last call began, in seconds after `since`.
    pub used: AtomicU32,
}

/// What the clones of a channel and the calls under way hold; the last one ends the channel's task.
pub(crate) struct ChannelHandle {
    pub state: Arc<ChannelState>,
    /// Ends the task when dropped.
    pub _alive: DropGuard,
}

/// An endpoint as the last snapshot was made of it.
pub(crate) struct ListedEndpoint {
    pub member: Arc<Member>,
    /// Whether outlier detection ejected it.
    pub ejected: bool,
    /// Whether its open circuit keeps it from being picked.
    pub open: bool,
}

/// What never changes in a channel's life.
pub(crate) struct ChannelSettings {
    pub target: Arc<str>,
    pub user_agent: HeaderValue,
    pub observers: Observers,
    pub random: Random,
    pub buffers: Arc<Buffers>,
    pub slow_call: Option<Duration>,
}

/// A policy and what counts by it. A call holds it, and with it all that it needs to its end: one count for many clones.
pub(crate) struct ActivePolicy {
    pub fixed: Arc<ChannelSettings>,
    pub policy: Policy,
    pub throttle: Option<Arc<Throttle>>,
    pub budget: Option<Arc<Budget>>,
    pub rate: Option<Arc<RateLimit>>,
    pub concurrency: Arc<ConcurrencyLimit>,
}

impl ActivePolicy {
    /// What counts by `policy`; what `before` counted by the same goes on.
    pub(crate) fn new(policy: Policy, fixed: &Arc<ChannelSettings>, before: Option<&Self>) -> Self {
        let new = policy.channel();
        let old = before.map(|before| before.policy.channel());
        let same = |what: &dyn Fn(&crate::policy::ChannelPolicy) -> bool| old.is_some_and(what);
        let kept = |same: bool| before.filter(|_| same);
        let throttle = match kept(same(&|old| old.retry_throttling == new.retry_throttling)) {
            Some(before) => before.throttle.clone(),
            None => new.retry_throttling.map(|policy| Arc::new(Throttle::new(policy))),
        };
        let budget = match kept(same(&|old| old.retry_budget == new.retry_budget)) {
            Some(before) => before.budget.clone(),
            None => new.retry_budget.map(|policy| Arc::new(Budget::new(policy))),
        };
        let rate = match kept(same(&|old| old.rate_limit == new.rate_limit)) {
            Some(before) => before.rate.clone(),
            None => new.rate_limit.map(|policy| Arc::new(RateLimit::new(policy))),
        };
        let concurrency = ConcurrencyLimit::of_target(&fixed.target, new.max_concurrent_requests);
        Self { fixed: Arc::clone(fixed), throttle, budget, rate, concurrency, policy }
    }
}

/// One endpoint and how it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Its addresses.
    pub name: Arc<str>,
    /// The state of its connection, and of its health if that is checked.
    pub state: Connectivity,
    /// Why it is not connected.
    pub error: Option<String>,
    /// The state of its circuit breaker; closed when it has none.
    pub circuit: Circuit,
    /// Whether outlier detection ejected it.
    pub ejected: bool,
    /// Calls under way.
    pub in_flight: u32,
    /// The moving average of its latency, peaks at once.
    pub latency: Duration,
}

impl ChannelState {
    /// Has the task begin, if it rests.
    pub(crate) fn wake(&self) {
        if self.snapshot.load().connectivity == Connectivity::Idle {
            self.kick.notify_one();
        }
    }

    /// A call began.
    pub(crate) fn used(&self, now: Instant) {
        let second = now.saturating_duration_since(self.since).as_secs() as u32;
        // Mostly a read, so that callers don't write to the same memory.
        if self.used.load(Ordering::Relaxed) != second {
            self.used.store(second, Ordering::Relaxed);
        }
    }

    /// For how long there was no call; none while there is one.
    pub(crate) fn idle_since(&self, now: Instant) -> Option<Duration> {
        if self.listed.load().iter().any(|listed| listed.member.load.in_flight() > 0) {
            return None;
        }
        let used = Duration::from_secs(u64::from(self.used.load(Ordering::Relaxed)));
        Some(now.saturating_duration_since(self.since).saturating_sub(used))
    }

    /// A policy with what the descriptors allow.
    pub(crate) fn complete(&self, policy: Policy) -> Policy {
        match &self.descriptors {
            Some(descriptors) => policy.with_descriptors(descriptors),
            None => policy,
        }
    }

    /// Lets calls run by `policy`.
    pub(crate) fn activate(&self, policy: Policy) {
        let before = self.active.load_full();
        self.active.store(Arc::new(ActivePolicy::new(policy, &self.fixed, Some(&before))));
    }

    /// Lets picks run by `snapshot`, then shows the endpoints as they are in it: what is seen of them holds for calls.
    pub(crate) fn publish(&self, snapshot: Snapshot, listed: Vec<ListedEndpoint>) {
        self.snapshot.store(Arc::new(snapshot));
        self.listed.store(Arc::new(listed));
        self.changed.send_replace(());
        self.queue.changed();
    }

    /// The end: nobody is left to call.
    pub(crate) fn close(&self) {
        let closed = Otherwise::Fail("the channel was closed".into());
        let closed = Snapshot { connectivity: Connectivity::Shutdown, otherwise: closed, ..Snapshot::idle() };
        self.publish(closed, Vec::new());
    }

    /// Why no endpoint can take calls.
    pub(crate) fn why_unavailable(&self) -> String {
        match &self.snapshot.load().otherwise {
            Otherwise::Fail(message) => message.to_string(),
            Otherwise::Wait => format!("{} is not ready yet", self.fixed.target),
        }
    }

    pub(crate) fn endpoints(&self, now: Instant) -> Vec<EndpointStatus> {
        let status = |ListedEndpoint { member, ejected, open }: &ListedEndpoint| {
            // Calls fail until the snapshot takes it in again.
            let circuit =
                if *open { Some(Circuit::Open) } else { member.breaker.as_ref().map(|breaker| breaker.state(now)) };
            let state = member.subchannel.state();
            EndpointStatus {
                name: Arc::clone(&member.name),
                state: state.connectivity,
                error: state.error.map(|error| error.to_string()),
                circuit: circuit.unwrap_or(Circuit::Closed),
                ejected: *ejected,
                in_flight: member.load.in_flight(),
                latency: member.load.latency(now),
            }
        };
        self.listed.load().iter().map(status).collect()
    }
}

impl Snapshot {
    /// Before the first call, and after a long time without one.
    pub(crate) fn idle() -> Self {
        let picker: Arc<dyn Picker> = Arc::new(RoundRobin::new(&Random::system()));
        Self {
            candidates: Vec::new(),
            members: Vec::new(),
            picker,
            otherwise: Otherwise::Wait,
            connectivity: Connectivity::Idle,
        }
    }
}

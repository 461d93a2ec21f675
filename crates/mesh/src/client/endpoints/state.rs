//! What calls and the task of a channel share.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::{Authority, Scheme};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::member::Member;
use super::snapshot::{Otherwise, Snapshot};
use crate::client::balance::{Picker, RoundRobin};
use crate::client::retry::{Budget, Buffers, RequestIds, Throttle};
use crate::limit::{ConcurrencyLimit, RateLimit};
use crate::observe::{Circuit, Connectivity, Observers};
use crate::policy::{Descriptors, Policy};
use crate::random::Random;
use crate::transport::WaitQueue;

/// What calls and the task of a channel share.
pub(crate) struct ChannelState {
    pub settings: Arc<ChannelSettings>,
    pub authority: Authority,
    pub scheme: Scheme,
    pub snapshot: ArcSwap<Snapshot>,
    /// Notified at each new snapshot.
    pub changed: watch::Sender<()>,
    /// Calls that no endpoint could take at once.
    pub queue: Arc<WaitQueue>,
    /// All endpoints, as the last snapshot was made of them.
    pub views: ArcSwap<Vec<EndpointView>>,
    pub active: ArcSwap<ActivePolicy>,
    descriptors: Option<Descriptors>,
    since: Instant,
    /// When the last call began, in seconds after `since`.
    used: AtomicU32,
    /// The task, while no runtime drives it.
    parked: Mutex<Option<ParkedTask>>,
    closed: AtomicBool,
    /// Notified when the channel is closed.
    end: Notify,
}

/// Begins the task of a channel on a runtime. It holds nothing of the channel: a parked task would keep it for ever.
pub(crate) type ParkedTask = Box<dyn FnOnce(&Handle, Arc<ChannelState>) + Send>;

/// What the clones of a channel and the calls under way hold; the last one closes the channel.
pub(crate) struct ChannelHandle {
    pub state: Arc<ChannelState>,
}

impl Drop for ChannelHandle {
    fn drop(&mut self) {
        self.state.close();
    }
}

/// An endpoint as the last snapshot was made of it.
pub(crate) struct EndpointView {
    pub member: Arc<Member>,
    /// Whether outlier detection ejected it.
    pub ejected: bool,
    /// Whether its open circuit keeps it from being picked.
    pub open: bool,
}

/// What never changes in a channel's life.
pub(crate) struct ChannelSettings {
    pub target: Arc<str>,
    /// Whether `Builder::origin` set the authority: then no endpoint has one of its own.
    pub overrides_authority: bool,
    pub user_agent: HeaderValue,
    pub observers: Observers,
    pub random: Random,
    pub buffers: Arc<Buffers>,
    pub slow_call: Option<Duration>,
    /// The largest message that a response may have (`Builder::max_decoding_message_size`); none when the builder says
    /// nothing.
    pub max_response_bytes: Option<usize>,
    /// The largest message that a request may have (`Builder::max_encoding_message_size`).
    pub max_request_bytes: Option<usize>,
    /// Whether requests without an id get one, where the policy knows a field for it.
    pub request_ids: RequestIds,
}

/// A policy and what counts by it. A call holds it, and with it all that it needs to its end: one count for many clones.
pub(crate) struct ActivePolicy {
    pub settings: Arc<ChannelSettings>,
    pub policy: Policy,
    pub throttle: Option<Arc<Throttle>>,
    pub budget: Option<Arc<Budget>>,
    pub rate: Option<Arc<RateLimit>>,
    /// None unless the policy limits the calls in flight.
    pub concurrency: Option<Arc<ConcurrencyLimit>>,
}

impl ActivePolicy {
    /// What counts by `policy`; what `before` counted by the same goes on.
    pub(crate) fn new(policy: Policy, settings: &Arc<ChannelSettings>, before: Option<&Self>) -> Self {
        let new = policy.channel();
        let old = before.map(|before| before.policy.channel());
        let same = |what: &dyn Fn(&crate::policy::ChannelPolicy) -> bool| old.is_some_and(what);
        let unchanged = |same: bool| before.filter(|_| same);
        let throttle = match unchanged(same(&|old| old.retry_throttling == new.retry_throttling)) {
            Some(before) => before.throttle.clone(),
            None => new.retry_throttling.map(|policy| Arc::new(Throttle::new(policy))),
        };
        let budget = match unchanged(same(&|old| old.retry_budget == new.retry_budget)) {
            Some(before) => before.budget.clone(),
            None => new.retry_budget.map(|policy| Arc::new(Budget::new(policy))),
        };
        let rate = match unchanged(same(&|old| old.rate_limit == new.rate_limit)) {
            Some(before) => before.rate.clone(),
            None => new.rate_limit.map(|policy| Arc::new(RateLimit::new(policy))),
        };
        let limit = new.max_concurrent_requests;
        let concurrency = limit.map(|limit| ConcurrencyLimit::of_target(&settings.target, limit));
        Self { settings: Arc::clone(settings), throttle, budget, rate, concurrency, policy }
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
    /// A channel that is idle; its task is parked afterwards. `policy` is the channel's own.
    pub(crate) fn new(
        settings: Arc<ChannelSettings>,
        authority: Authority,
        scheme: Scheme,
        queue: Arc<WaitQueue>,
        policy: &Policy,
        descriptors: Option<Descriptors>,
    ) -> Self {
        let policy = completed(policy.clone(), descriptors.as_ref());
        let active = ActivePolicy::new(policy, &settings, None);
        Self {
            settings,
            authority,
            scheme,
            snapshot: ArcSwap::from_pointee(Snapshot::idle()),
            changed: watch::Sender::new(()),
            queue,
            views: ArcSwap::default(),
            active: ArcSwap::from_pointee(active),
            descriptors,
            since: Instant::now(),
            used: AtomicU32::new(0),
            parked: Mutex::new(None),
            closed: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// Has the task begin on the runtime of the caller, if no runtime drives it: before the first call, after a long time
    /// without one, and when the runtime that drove it has ended. Costs one load otherwise.
    ///
    /// A call that waits looks again at each snapshot, and so wakes the channel when its runtime ends meanwhile. It must
    /// wake it after it has registered for that.
    ///
    /// # Panics
    /// Outside of a tokio runtime, when the channel is idle: nobody would drive it.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.snapshot.load().connectivity != Connectivity::Idle {
            return;
        }
        let runtime = Handle::current();
        // Begun without the lock: a runtime that is ending drops the task at once, which is parked again then.
        let begin = self.parked().take();
        if let Some(begin) = begin {
            begin(&runtime, Arc::clone(self));
        }
    }

    /// The channel is idle until it is woken; then `task` begins.
    pub(crate) fn park(&self, task: ParkedTask) {
        *self.parked() = Some(task);
        self.publish(Snapshot::idle(), Vec::new());
        // Closed meanwhile, it stays closed.
        if self.is_closed() {
            self.close();
        }
    }

    fn parked(&self) -> MutexGuard<'_, Option<ParkedTask>> {
        // Nothing in it is left half done by a panic.
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call began.
    pub(crate) fn used(&self, now: Instant) {
        let second = now.saturating_duration_since(self.since).as_secs() as u32;
        // Mostly a read, so that callers don't write to the same memory.
        if self.used.load(Ordering::Relaxed) != second {
            self.used.store(second, Ordering::Relaxed);
        }
    }

    /// For how long there was no call; none while there is one, be it one that waits.
    pub(crate) fn idle_since(&self, now: Instant) -> Option<Duration> {
        if !self.queue.is_empty() {
            return None;
        }
        if self.views.load().iter().any(|view| view.member.feedback.load.in_flight() > 0) {
            return None;
        }
        let used = Duration::from_secs(u64::from(self.used.load(Ordering::Relaxed)));
        Some(now.saturating_duration_since(self.since).saturating_sub(used))
    }

    /// A policy with what the descriptors allow.
    pub(crate) fn complete(&self, policy: Policy) -> Policy {
        completed(policy, self.descriptors.as_ref())
    }

    /// Lets calls run by `policy`.
    pub(crate) fn activate(&self, policy: Policy) {
        let before = self.active.load_full();
        self.active.store(Arc::new(ActivePolicy::new(policy, &self.settings, Some(&before))));
    }

    /// Lets picks run by `snapshot`, then shows the endpoints as they are in it: what is seen of them holds for calls.
    pub(crate) fn publish(&self, snapshot: Snapshot, views: Vec<EndpointView>) {
        self.snapshot.store(Arc::new(snapshot));
        self.views.store(Arc::new(views));
        self.changed.send_replace(());
        self.queue.changed();
    }

    /// The end: no call can be made any more, and connections end with the streams that are open.
    pub(crate) fn close(&self) {
        self.close_with("the channel was closed");
    }

    /// As [`ChannelState::close`]; calls fail with `why`.
    pub(crate) fn close_with(&self, why: &'static str) {
        self.closed.store(true, Ordering::Release);
        self.end.notify_waiters();
        let parked = self.parked().take();
        drop(parked);
        let closed = Snapshot {
            connectivity: Connectivity::Shutdown,
            otherwise: Otherwise::Fail(why.into()),
            ..Snapshot::idle()
        };
        self.publish(closed, Vec::new());
    }

    /// Whether the channel was closed: no call may wait any more, whatever it asked for.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Resolves when the channel is closed.
    pub(crate) async fn closed(&self) {
        let mut end = pin!(self.end.notified());
        end.as_mut().enable();
        if !self.is_closed() {
            end.await;
        }
    }

    /// Why no endpoint can take calls.
    pub(crate) fn why_unavailable(&self) -> String {
        match &self.snapshot.load().otherwise {
            Otherwise::Fail(message) => message.to_string(),
            Otherwise::Wait => format!("{} is not ready yet", self.settings.target),
        }
    }

    pub(crate) fn endpoints(&self, now: Instant) -> Vec<EndpointStatus> {
        let status = |EndpointView { member, ejected, open }: &EndpointView| {
            let feedback = &member.feedback;
            // Calls fail until the snapshot takes it in again.
            let circuit =
                if *open { Some(Circuit::Open) } else { feedback.breaker.as_ref().map(|breaker| breaker.state(now)) };
            let state = member.subchannel.state();
            EndpointStatus {
                name: Arc::clone(&feedback.name),
                state: state.connectivity,
                error: state.error.map(|error| error.to_string()),
                circuit: circuit.unwrap_or(Circuit::Closed),
                ejected: *ejected,
                in_flight: feedback.load.in_flight(),
                latency: feedback.load.latency(now),
            }
        };
        self.views.load().iter().map(status).collect()
    }
}

fn completed(policy: Policy, descriptors: Option<&Descriptors>) -> Policy {
    match descriptors {
        Some(descriptors) => policy.with_descriptors(descriptors),
        None => policy,
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

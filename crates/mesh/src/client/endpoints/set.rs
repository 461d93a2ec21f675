//! The endpoints of a channel while it is in use, and what the task has learnt of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::state::ChannelState;
use super::tracked::TrackedEndpoint;
use crate::breaker::OpenShare;
use crate::client::balance::{LeastRequest, PeakEwma, Picker, RoundRobin};
use crate::client::outlier::{Change, Key, OutlierDetector};
use crate::client::resolve::Resolution;
use crate::client::subchannel::{HealthCheck, Options, State};
use crate::policy::{LoadBalancing, Policy};

/// What the parts of the task share, from the first call until the channel is idle.
pub(super) struct EndpointSet {
    pub state: Arc<ChannelState>,
    pub endpoints: HashMap<Key, TrackedEndpoint>,
    /// The order in which the resolver gave them.
    pub order: Vec<Key>,
    pub replaced: Option<ReplacedEndpoints>,
    pub watches: FuturesUnordered<BoxFuture<'static, Option<watch::Receiver<State>>>>,
    pub outliers: OutlierDetector,
    pub picker: Arc<dyn Picker>,
    pub resolution: Option<Resolution>,
    /// Why the last resolution failed; none after one that did not.
    pub failure: Option<String>,
    /// The options of subchannels by the policy.
    pub options: Arc<Options>,
    /// Notified when a circuit changes, or may let another call through.
    pub circuits: Arc<Notify>,
    /// How many circuits may be open.
    pub share: Arc<OpenShare>,
    /// The options of subchannels, but for what the policy says.
    base: Options,
    /// A picker of the user's own, in place of the policy's.
    own_picker: Option<Arc<dyn Picker>>,
}

/// The endpoints with the connections that they had before a policy that connects otherwise. They take the calls until
/// those in their place have settled.
pub(super) struct ReplacedEndpoints {
    pub endpoints: Vec<TrackedEndpoint>,
    /// How long they wait for the others at most.
    until: Option<Instant>,
}

impl EndpointSet {
    pub(super) fn new(state: Arc<ChannelState>, base: Options, own_picker: Option<Arc<dyn Picker>>) -> Self {
        let active = state.active.load_full();
        let policy = &active.policy;
        let outliers = OutlierDetector::new(policy.channel().outlier_detection.clone(), Instant::now());
        Self {
            endpoints: HashMap::new(),
            order: Vec::new(),
            replaced: None,
            watches: FuturesUnordered::new(),
            outliers,
            picker: picker(&state, own_picker.as_ref(), policy),
            resolution: None,
            failure: None,
            options: Arc::new(subchannel_options(&state, &base, policy)),
            circuits: Arc::new(Notify::new()),
            share: Arc::default(),
            state,
            base,
            own_picker,
        }
    }

    /// Picks by `policy` from now on.
    pub(super) fn set_picker(&mut self, policy: &Policy) {
        self.picker = picker(&self.state, self.own_picker.as_ref(), policy);
    }

    /// Has every endpoint connected anew, by `policy`, when the endpoints are reconciled next. Those of now take the calls
    /// until the new connections stand, but not for longer than a connection may take.
    pub(super) fn replace_connections(&mut self, policy: &Policy) {
        self.options = Arc::new(subchannel_options(&self.state, &self.base, policy));
        let until = Instant::now().checked_add(self.options.connect_timeout);
        let order = std::mem::take(&mut self.order);
        let endpoints: Vec<_> = order.iter().filter_map(|key| self.endpoints.remove(key)).collect();
        match &mut self.replaced {
            Some(replaced) => {
                // Calls never went to these.
                replaced.until = until;
                self.release(endpoints);
            }
            None if endpoints.is_empty() => {}
            None => self.replaced = Some(ReplacedEndpoints { endpoints, until }),
        }
    }

    /// Lets the replaced endpoints go if it is time: open streams go on to their end.
    pub(super) fn end_replacement(&mut self, now: Instant) {
        let Some(replaced) = &self.replaced else { return };
        let over = replaced.until.is_some_and(|until| until <= now)
            || self.endpoints.values().all(TrackedEndpoint::is_settled)
            || !replaced.endpoints.iter().any(TrackedEndpoint::is_ready);
        if over && let Some(replaced) = self.replaced.take() {
            self.release(replaced.endpoints);
        }
    }

    /// The endpoints that calls go to, in order.
    pub(super) fn selectable(&self) -> Vec<&TrackedEndpoint> {
        match &self.replaced {
            Some(replaced) => replaced.endpoints.iter().collect(),
            None => self.order.iter().filter_map(|key| self.endpoints.get(key)).collect(),
        }
    }

    /// Lets endpoints go; calls to them may go on. The breaker of one that only gets other connections stays in the share.
    pub(super) fn release(&self, gone: impl IntoIterator<Item = TrackedEndpoint>) {
        let breaker = |endpoint: &TrackedEndpoint| endpoint.member.feedback.breaker.clone();
        let gone: Vec<_> = gone.into_iter().filter_map(|endpoint| breaker(&endpoint)).collect();
        if gone.is_empty() {
            return;
        }
        let stay: HashSet<_> = self.all().filter_map(breaker).map(|breaker| Arc::as_ptr(&breaker)).collect();
        for breaker in gone.iter().filter(|breaker| !stay.contains(&Arc::as_ptr(breaker))) {
            breaker.retire();
        }
    }

    /// When something is due by time.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let breakers = self.all().filter_map(|endpoint| endpoint.member.feedback.breaker.as_ref()?.open_until());
        let replaced = self.replaced.as_ref().and_then(|replaced| replaced.until);
        breakers.chain(self.outliers.next_tick()).chain(replaced).min()
    }

    /// Ends an interval of outlier detection if it is over.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.outliers.next_tick().is_some_and(|at| at <= now) {
            let changes = self.outliers.tick(now, &self.state.settings.random);
            self.report(&changes);
        }
    }

    /// Reports what outlier detection did.
    pub(super) fn report(&self, changes: &[Change]) {
        for change in changes {
            change.report(&self.state.settings.observers);
        }
    }

    fn all(&self) -> impl Iterator<Item = &TrackedEndpoint> {
        self.endpoints.values().chain(self.replaced.iter().flat_map(|replaced| &replaced.endpoints))
    }
}

/// Whether the policy is pick_first: one subchannel for the addresses of all endpoints.
pub(super) fn is_pick_first(policy: &Policy) -> bool {
    matches!(policy.channel().load_balancing, LoadBalancing::PickFirst { .. })
}

fn picker(state: &ChannelState, own: Option<&Arc<dyn Picker>>, policy: &Policy) -> Arc<dyn Picker> {
    if let Some(picker) = own {
        return Arc::clone(picker);
    }
    let random = &state.settings.random;
    match policy.channel().load_balancing {
        LoadBalancing::PeakEwma => Arc::new(PeakEwma::new(random.clone())),
        LoadBalancing::RoundRobin | LoadBalancing::PickFirst { .. } => Arc::new(RoundRobin::new(random)),
        LoadBalancing::LeastRequest { choice_count } => Arc::new(LeastRequest::new(choice_count, random.clone())),
    }
}

fn subchannel_options(state: &ChannelState, base: &Options, policy: &Policy) -> Options {
    let channel = policy.channel();
    // gRFC A17: pick_first as the top policy has no health checks.
    let health_check = channel.health_check.clone().filter(|_| !is_pick_first(policy)).map(|service| HealthCheck {
        service,
        authority: state.authority.clone(),
        scheme: state.scheme.clone(),
    });
    Options { max_connections: channel.max_connections_per_subchannel, health_check, ..base.clone() }
}

//! The task of a channel: hears of addresses, connections, policies and health, and makes the snapshot that picks read.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::member::Member;
use super::pick::circuits_open;
use super::snapshot::{Otherwise, Snapshot};
use super::state::{ActivePolicy, ChannelState, ListedEndpoint};
use crate::breaker::{Breaker, OpenShare};
use crate::client::balance::{Candidate, LeastRequest, Load, PeakEwma, Picker, RoundRobin};
use crate::client::endpoint::Endpoint;
use crate::client::outlier::{Change, Key, OutlierDetector, key};
use crate::client::resolve::{Refresher, Resolution, ResolveError};
use crate::client::subchannel::{HealthCheck, Options, State, Subchannel};
use crate::observe::{Circuit, Connectivity, Event};
use crate::policy::{LoadBalancing, Policy, PolicyError, PolicyFile};

/// How many endpoints an error names.
const NAMED: usize = 4;

/// What the task is made of.
pub(crate) struct EndpointsTask {
    pub shared: Arc<ChannelState>,
    /// The options of subchannels, but for what the policy says.
    pub options: Options,
    pub refresher: Refresher,
    /// Holds unless the resolver brings a policy.
    pub default_policy: Policy,
    /// Whether the default was said, so that it can stand in for what is refused.
    pub has_default: bool,
    /// Whether a policy of the resolver was ever good.
    pub adopted: bool,
    pub policy_file: Option<PolicyFile>,
    /// A picker of the user's own, in place of the policy's.
    pub own_picker: Option<Arc<dyn Picker>>,
    pub idle_timeout: Option<Duration>,
    pub closed: CancellationToken,
}

/// What the task knows beside what it was made of.
struct EndpointSet {
    servers: HashMap<Key, Server>,
    /// The order in which the resolver gave them.
    order: Vec<Key>,
    watches: FuturesUnordered<BoxFuture<'static, Option<watch::Receiver<State>>>>,
    outliers: OutlierDetector,
    picker: Arc<dyn Picker>,
    resolution: Option<Resolution>,
    /// Why the last resolution failed; none after one that did not.
    failure: Option<String>,
    options: Arc<Options>,
    circuits: Arc<Notify>,
    /// How many circuits may be open.
    open: Arc<OpenShare>,
}

struct Server {
    member: Arc<Member>,
    /// TRANSIENT_FAILURE holds until READY (gRFC A48).
    failed: bool,
    state: Connectivity,
    /// Of the subchannel's state; it grows each time that all addresses failed.
    generation: u64,
    connection: u64,
}

impl EndpointsTask {
    /// Runs until the last handle of the channel is dropped.
    pub(crate) async fn run(mut self) {
        let closed = self.closed.clone();
        // Everything that the loop holds goes with it.
        let queue = Arc::clone(&self.shared.queue);
        tokio::select! {
            () = closed.cancelled() => {}
            () = self.serve() => {}
            () = queue.keep_moving() => {}
        }
        self.shared.close();
    }

    async fn serve(&mut self) {
        loop {
            self.shared.kick.notified().await;
            self.active().await;
            // What is listed keeps its connections.
            self.shared.publish(Snapshot::idle(), Vec::new());
        }
    }

    /// From the first call until there was none for long.
    async fn active(&mut self) {
        let now = Instant::now();
        let policy = self.shared.active.load().policy.clone();
        let mut known = EndpointSet {
            servers: HashMap::new(),
            order: Vec::new(),
            watches: FuturesUnordered::new(),
            outliers: OutlierDetector::new(policy.channel().outlier_detection.clone(), now),
            picker: self.picker(&policy),
            resolution: None,
            failure: None,
            options: Arc::new(self.options(&policy)),
            circuits: Arc::new(Notify::new()),
            open: Arc::default(),
        };
        self.refresher.restart();
        let mut idle_at = self.idle_timeout.and_then(|timeout| now.checked_add(timeout));
        self.publish(&mut known);
        // Others may have asked as well before they saw that; it must not wake the channel when it is idle next time.
        let _ = self.shared.kick.notified().now_or_never();
        loop {
            let timer = known.next_timer(idle_at);
            let circuits = Arc::clone(&known.circuits);
            let file = async {
                match &mut self.policy_file {
                    Some(file) => file.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                resolution = self.refresher.next() => self.resolved(&mut known, resolution),
                Some(state) = known.watches.next() => {
                    if let Some(receiver) = state {
                        known.watches.push(Box::pin(next_state(receiver)));
                    }
                }
                () = circuits.notified() => {}
                policy = file => match policy {
                    Ok(policy) => {
                        self.default_policy = policy;
                        let resolution = known.resolution.clone();
                        // What the resolver said and was refused was told then.
                        let _ = self.adopt(&mut known, resolution.as_ref());
                    }
                    Err(error) => self.refused(&error.to_string()),
                },
                () = sleep_until(timer) => {
                    let now = Instant::now();
                    self.tick(&mut known, now);
                    if idle_at.is_some_and(|at| at <= now) {
                        match self.shared.idle_since(now) {
                            Some(unused) if Some(unused) >= self.idle_timeout => return,
                            unused => {
                                let left = self.idle_timeout.unwrap_or_default().saturating_sub(unused.unwrap_or_default());
                                idle_at = now.checked_add(left.max(Duration::from_secs(1)));
                            }
                        }
                    }
                }
            }
            self.publish(&mut known);
        }
    }

    /// Takes what the resolver says. While it fails, its last good answer holds.
    fn resolved(&mut self, known: &mut EndpointSet, resolution: Result<Resolution, ResolveError>) {
        match resolution {
            Ok(resolution) => {
                self.shared.fixed.observers.event(&Event::Resolved { endpoints: resolution.endpoints.len() });
                known.failure = None;
                if let Err(error) = self.adopt(known, Some(&resolution))
                    && !self.has_default
                    && !self.adopted
                {
                    // gRFC A21: with nothing in its place, a config that is refused is a resolution that failed.
                    known.failure = Some(format!("its service config is not valid: {error}"));
                    return;
                }
                self.servers(known, &resolution);
                known.resolution = Some(resolution);
            }
            Err(error) => {
                let error = error.to_string();
                self.shared.fixed.observers.event(&Event::ResolutionFailed { error: &error });
                known.failure = Some(error);
            }
        }
    }

    /// The policy that holds: the resolver's, else the channel's own (gRFC A21). One that is refused leaves the last.
    fn adopt(&mut self, known: &mut EndpointSet, resolution: Option<&Resolution>) -> Result<(), PolicyError> {
        let policy = match resolution.and_then(|resolution| resolution.service_config.as_deref()) {
            Some(json) => match Policy::parse(json) {
                Ok(policy) => {
                    self.adopted = true;
                    policy
                }
                Err(error) => {
                    self.refused(&error.to_string());
                    return Err(error);
                }
            },
            None => self.default_policy.clone(),
        };
        let policy = self.shared.complete(policy);
        if self.shared.active.load().policy == policy {
            return Ok(());
        }
        known.picker = self.picker(&policy);
        let options = self.options(&policy);
        let connections = |policy: &Policy| {
            let channel = policy.channel();
            (channel.max_connections_per_subchannel, channel.health_check.clone(), pick_first(policy))
        };
        if connections(&policy) != connections(&self.shared.active.load().policy) {
            // Connections that were made otherwise don't fit: they end with their calls.
            known.servers.drain().for_each(|(_, server)| server.retire());
            known.order.clear();
            known.options = Arc::new(options);
        }
        let changes = known.outliers.update(policy.channel().outlier_detection.clone(), Instant::now());
        self.ejections(&changes);
        self.shared.activate(policy);
        if let Some(resolution) = known.resolution.take() {
            self.servers(known, &resolution);
            known.resolution = Some(resolution);
        }
        self.shared.fixed.observers.event(&Event::PolicyChanged);
        Ok(())
    }

    fn refused(&self, error: &str) {
        tracing::warn!(target: "meshwork::policy", %error, "a new policy was refused; the one before holds on");
        self.shared.fixed.observers.event(&Event::PolicyRefused { error });
    }

    /// Keeps the servers that are still there, connects to those that are new, lets go of the others.
    fn servers(&mut self, known: &mut EndpointSet, resolution: &Resolution) {
        let active = self.shared.active.load_full();
        let policy = active.policy.channel();
        let endpoints = match policy.load_balancing {
            LoadBalancing::PickFirst { shuffle_address_list } => {
                let mut endpoints = resolution.endpoints.clone();
                if shuffle_address_list {
                    self.shared.fixed.random.shuffle(&mut endpoints);
                }
                let addresses = endpoints.iter().flat_map(|endpoint| endpoint.addresses().iter().cloned());
                Endpoint::with_addresses(addresses).into_iter().collect()
            }
            _ => resolution.endpoints.clone(),
        };
        let mut before = std::mem::take(&mut known.servers);
        known.order.clear();
        let mut keys = Vec::new();
        for endpoint in endpoints {
            let key = match policy.load_balancing {
                // One server at a time, whichever addresses it is chosen from.
                LoadBalancing::PickFirst { .. } => Key::from([]),
                _ => key(endpoint.addresses()),
            };
            if known.servers.contains_key(&key) {
                continue;
            }
            keys.push(key.clone());
            let old = before.remove(&key);
            let server = self.server(known, &active, endpoint, old);
            known.servers.insert(key.clone(), server);
            known.order.push(key);
        }
        before.into_values().for_each(|server| server.retire());
        // pick_first as the top policy sees no health, and so no ejections (gRFC A61).
        known.outliers.set_endpoints(keys.iter().filter(|key| !key.is_empty()));
        for key in &known.order {
            if let Some(server) = known.servers.get_mut(key) {
                let counter = policy.outlier_detection.as_ref().and_then(|_| known.outliers.counter(key));
                let member = &server.member;
                server.member = Arc::new(Member { counter, ..Member::clone(member) });
            }
        }
    }

    fn server(&self, known: &EndpointSet, active: &ActivePolicy, endpoint: Endpoint, old: Option<Server>) -> Server {
        let policy = active.policy.channel();
        let name: Arc<str> = endpoint.to_string().into();
        let old_breaker = old.as_ref().and_then(|server| server.member.breaker.clone());
        let breaker = policy.circuit_breaker.clone().map(|policy| match old_breaker {
            Some(breaker) => {
                breaker.update(policy);
                breaker
            }
            None => {
                let (changed, place) = (Arc::clone(&known.circuits), Arc::clone(&known.circuits));
                let (observers, name) = (self.shared.fixed.observers.clone(), Arc::clone(&name));
                let turned = move |circuit| {
                    observers.event(&Event::CircuitChanged { endpoint: &name, circuit });
                    changed.notify_one();
                };
                // Calls that wait for ready pick again when a probe's place is free.
                let breaker = Breaker::within(policy, Arc::clone(&known.open));
                Arc::new(breaker.on_change(turned).on_place(move || place.notify_one()))
            }
        });
        let (subchannel, load, (failed, state, generation, connection)) = match old {
            Some(server) => {
                server.member.subchannel.update_addresses(endpoint.addresses().to_vec());
                let member = &server.member;
                let known = (server.failed, server.state, server.generation, server.connection);
                (member.subchannel.clone(), Arc::clone(&member.load), known)
            }
            None => {
                let addresses = endpoint.addresses().to_vec();
                let subchannel = Subchannel::spawn(Arc::clone(&name), addresses, Arc::clone(&known.options));
                // From now on changes are seen.
                known.watches.push(Box::pin(next_state(subchannel.watch())));
                subchannel.connect();
                (subchannel, Arc::new(Load::new()), (false, Connectivity::Idle, 0, 0))
            }
        };
        let member = Member { name, endpoint: Arc::new(endpoint), subchannel, load, breaker, counter: None };
        Server { member: Arc::new(member), failed, state, generation, connection }
    }

    /// What is due by time: outlier detection; circuits half-open by themselves.
    fn tick(&self, known: &mut EndpointSet, now: Instant) {
        if known.outliers.next_tick().is_some_and(|at| at <= now) {
            let changes = known.outliers.tick(now, &self.shared.fixed.random);
            self.ejections(&changes);
        }
    }

    fn ejections(&self, changes: &[Change]) {
        for change in changes {
            change.tell(&self.shared.fixed.observers);
        }
    }

    /// Makes the snapshot of this moment.
    fn publish(&mut self, known: &mut EndpointSet) {
        let now = Instant::now();
        let mut candidates = Vec::new();
        let mut members = Vec::new();
        let mut listed = Vec::new();
        let (mut open, mut connected, mut absent) = (0, 0, 0);
        let mut pending = known.resolution.is_none() && known.failure.is_none();
        let mut errors = Vec::new();
        let mut lost = false;
        for key in &known.order {
            let Some(server) = known.servers.get_mut(key) else { continue };
            let state = server.member.subchannel.state();
            lost |= server.see(&state);
            let ejected = known.outliers.is_ejected(key);
            // Asked of each, so that none has a time in the past that would wake this task again and again.
            let circuit = server.member.breaker.as_ref().map_or(Circuit::Closed, |breaker| breaker.state(now));
            let open_circuit = circuit == Circuit::Open;
            listed.push(ListedEndpoint { member: Arc::clone(&server.member), ejected, open: open_circuit });
            let answers = state.connectivity == Connectivity::Ready && !ejected;
            connected += usize::from(answers);
            absent += usize::from(!answers && circuit != Circuit::Closed);
            match state.connectivity {
                Connectivity::Ready if ejected => errors.push(format!("{}: ejected as an outlier", server.member.name)),
                Connectivity::Ready => {
                    if open_circuit {
                        open += 1;
                        errors.push(format!("{}: its circuit breaker is open", server.member.name));
                        continue;
                    }
                    let member = &server.member;
                    candidates.push(Candidate::new(Arc::clone(&member.endpoint), Arc::clone(&member.load)));
                    members.push(Arc::clone(member));
                }
                _ if server.failed => errors.push(match &state.error {
                    Some(error) => error.to_string(),
                    None => format!("{}: not connected", server.member.name),
                }),
                _ => pending = true,
            }
        }
        if lost {
            self.refresher.refresh();
        }
        let active = self.shared.active.load();
        let percent = active.policy.channel().circuit_breaker.as_ref().map_or(0, |breaker| breaker.max_open_percent);
        known.open.set(percent, connected, absent);
        let otherwise = if pending {
            Otherwise::Wait
        } else if open > 0 && open == known.order.len() {
            Otherwise::Fail(circuits_open(open))
        } else {
            Otherwise::Fail(self.unavailable(known, &errors).into())
        };
        let connectivity = match &otherwise {
            _ if !members.is_empty() => Connectivity::Ready,
            Otherwise::Wait => Connectivity::Connecting,
            Otherwise::Fail(_) => Connectivity::TransientFailure,
        };
        if let Some(picker) = known.picker.rebuild(&candidates) {
            known.picker = picker;
        }
        let picker = Arc::clone(&known.picker);
        self.shared.publish(Snapshot { candidates, members, picker, otherwise, connectivity }, listed);
    }

    fn unavailable(&self, known: &EndpointSet, errors: &[String]) -> String {
        let target = &self.shared.fixed.target;
        match (&known.failure, known.order.is_empty()) {
            (Some(failure), true) => format!("{target} could not be resolved: {failure}"),
            (None, true) => format!("{target} has no endpoints at the moment"),
            _ => {
                let named = errors.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
                let more = errors.len().saturating_sub(NAMED);
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                format!("no endpoint of {target} can take calls: {named}{more}")
            }
        }
    }

    fn picker(&self, policy: &Policy) -> Arc<dyn Picker> {
        if let Some(picker) = &self.own_picker {
            return Arc::clone(picker);
        }
        let random = &self.shared.fixed.random;
        match policy.channel().load_balancing {
            LoadBalancing::PeakEwma => Arc::new(PeakEwma::new(random.clone())),
            LoadBalancing::RoundRobin | LoadBalancing::PickFirst { .. } => Arc::new(RoundRobin::new(random)),
            LoadBalancing::LeastRequest { choice_count } => Arc::new(LeastRequest::new(choice_count, random.clone())),
        }
    }

    fn options(&self, policy: &Policy) -> Options {
        let channel = policy.channel();
        // gRFC A17: pick_first as the top policy has no health checks.
        let health_check = channel.health_check.clone().filter(|_| !pick_first(policy)).map(|service| HealthCheck {
            service,
            authority: self.shared.authority.clone(),
            scheme: self.shared.scheme.clone(),
        });
        Options { max_connections: channel.max_connections_per_subchannel, health_check, ..self.options.clone() }
    }
}

impl EndpointSet {
    /// When something is due by time.
    fn next_timer(&self, idle_at: Option<Instant>) -> Option<Instant> {
        let circuits = self.servers.values().filter_map(|server| server.member.breaker.as_ref()?.open_until());
        circuits.chain(self.outliers.next_tick()).chain(idle_at).min()
    }
}

impl Server {
    /// It is gone; calls to it may go on.
    fn retire(self) {
        if let Some(breaker) = &self.member.breaker {
            breaker.retire();
        }
    }

    /// Takes note of the state; says whether the connection is lost, or could not be made.
    fn see(&mut self, state: &State) -> bool {
        let ready = state.connectivity == Connectivity::Ready;
        let connection = self.member.subchannel.connection_id();
        if ready && connection != self.connection {
            self.connection = connection;
            self.member.load.forget();
            // A server that is back gets its probes at once.
            if let Some(breaker) = &self.member.breaker {
                breaker.half_open();
            }
        }
        if ready {
            self.failed = false;
        } else if state.connectivity == Connectivity::TransientFailure {
            self.failed = true;
        }
        let before = std::mem::replace(&mut self.state, state.connectivity);
        let again = std::mem::replace(&mut self.generation, state.generation) != state.generation;
        match state.connectivity {
            // Also each time that all addresses failed once more (gRFC A61).
            Connectivity::TransientFailure => again,
            now => before == Connectivity::Ready && now != before,
        }
    }
}

fn pick_first(policy: &Policy) -> bool {
    matches!(policy.channel().load_balancing, LoadBalancing::PickFirst { .. })
}

async fn next_state(mut receiver: watch::Receiver<State>) -> Option<watch::Receiver<State>> {
    receiver.changed().await.ok()?;
    Some(receiver)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => pin!(tokio::time::sleep_until(at)).await,
        None => std::future::pending().await,
    }
}

//! Reconciles the endpoints with a resolution: those that are still there stay, new ones are connected, others go.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use super::member::{Feedback, Member};
use super::set::EndpointSet;
use super::state::ActivePolicy;
use super::tracked::TrackedEndpoint;
use crate::breaker::Breaker;
use crate::client::balance::Load;
use crate::client::endpoint::{Address, Endpoint};
use crate::client::outlier::{Key, key};
use crate::client::resolve::Resolution;
use crate::client::subchannel::{ServerAddress, State, Subchannel};
use crate::observe::Event;
use crate::policy::{CircuitBreaker, LoadBalancing};

/// An endpoint that there is to be.
struct WantedEndpoint {
    key: Key,
    endpoint: Endpoint,
    /// In the order in which they are tried.
    addresses: Vec<ServerAddress>,
}

impl EndpointSet {
    /// Makes the endpoints those of `resolution`, by the policy that is active.
    pub(super) fn reconcile(&mut self, resolution: &Resolution) {
        let active = self.state.active.load_full();
        let wanted = self.wanted(&active, resolution);
        // pick_first as the top policy sees no health, and so no ejections (gRFC A61).
        self.outliers.set_endpoints(wanted.iter().map(|wanted| &wanted.key).filter(|key| !key.is_empty()));
        let mut before = std::mem::take(&mut self.endpoints);
        self.order.clear();
        for wanted in wanted {
            let key = wanted.key.clone();
            let tracked = match before.remove(&key) {
                Some(tracked) => self.keep(&active, wanted, tracked),
                None => self.add(&active, wanted),
            };
            self.order.push(key.clone());
            self.endpoints.insert(key, tracked);
        }
        self.release(before.into_values());
        self.drop_replaced(resolution);
    }

    fn wanted(&self, active: &ActivePolicy, resolution: &Resolution) -> Vec<WantedEndpoint> {
        let settings = &self.state.settings;
        let addresses = |endpoint: &Endpoint| -> Vec<ServerAddress> {
            let authority = endpoint.get_authority().filter(|_| !settings.overrides_authority);
            let server = |address: &Address| ServerAddress { address: address.clone(), authority: authority.cloned() };
            endpoint.addresses().iter().map(server).collect()
        };
        if let LoadBalancing::PickFirst { shuffle_address_list } = active.policy.channel().load_balancing {
            // One server at a time, whichever addresses it is chosen from; its name does not depend on the shuffle.
            let all = resolution.endpoints.iter().flat_map(|endpoint| endpoint.addresses().iter().cloned());
            let Some(endpoint) = Endpoint::with_addresses(all) else { return Vec::new() };
            let mut order: Vec<&Endpoint> = resolution.endpoints.iter().collect();
            if shuffle_address_list {
                settings.random.shuffle(&mut order);
            }
            let addresses = order.into_iter().flat_map(addresses).collect();
            return vec![WantedEndpoint { key: Key::from([]), endpoint, addresses }];
        }
        let mut keys = HashSet::new();
        let endpoints = resolution.endpoints.iter().map(|endpoint| (key(endpoint.addresses()), endpoint));
        let unique = endpoints.filter(|(key, _)| keys.insert(key.clone()));
        unique
            .map(|(key, endpoint)| WantedEndpoint { key, endpoint: endpoint.clone(), addresses: addresses(endpoint) })
            .collect()
    }

    /// An endpoint goes on, with its connections.
    fn keep(&self, active: &ActivePolicy, wanted: WantedEndpoint, tracked: TrackedEndpoint) -> TrackedEndpoint {
        let before = &tracked.member;
        let feedback = self.feedback(active, &wanted, Some(&before.feedback));
        let subchannel = before.subchannel.clone();
        subchannel.update_addresses(wanted.addresses);
        let member = Member { feedback, endpoint: Arc::new(wanted.endpoint), subchannel };
        tracked.with_member(Arc::new(member))
    }

    /// An endpoint is new, or is connected anew because the policy connects otherwise.
    fn add(&self, active: &ActivePolicy, wanted: WantedEndpoint) -> TrackedEndpoint {
        let mut replaced = self.replaced.iter().flat_map(|replaced| &replaced.endpoints);
        let replaced = replaced.find(|replaced| replaced.key == wanted.key);
        let feedback = self.feedback(active, &wanted, replaced.map(|replaced| &*replaced.member.feedback));
        let WantedEndpoint { key, endpoint, addresses } = wanted;
        let subchannel = Subchannel::spawn(Arc::clone(&feedback.name), addresses, Arc::clone(&self.options));
        // Watched before anything can change.
        self.watches.push(Box::pin(next_state(subchannel.watch())));
        subchannel.connect();
        let member = Arc::new(Member { feedback, endpoint: Arc::new(endpoint), subchannel });
        match replaced {
            Some(replaced) if replaced.is_ready() => TrackedEndpoint::beside(key, member),
            _ => TrackedEndpoint::new(key, member),
        }
    }

    /// A subchannel changed; watches it on. So it does with all others that changed by now: a snapshot is made of all endpoints,
    /// and one for each of a thousand that connect at the same time would be a million looks.
    pub(super) fn watch_again(&mut self, changed: Option<watch::Receiver<State>>) {
        let mut next = Some(changed);
        for _ in 0..=self.watches.len() {
            let Some(changed) = next else { return };
            if let Some(receiver) = changed {
                self.watches.push(Box::pin(next_state(receiver)));
            }
            next = self.watches.next().now_or_never().flatten();
        }
        if let Some(Some(receiver)) = next {
            self.watches.push(Box::pin(next_state(receiver)));
        }
    }

    /// Where calls report, by the policy; what was learnt `before` of the same endpoint goes on.
    fn feedback(&self, active: &ActivePolicy, wanted: &WantedEndpoint, before: Option<&Feedback>) -> Arc<Feedback> {
        let policy = active.policy.channel();
        let name: Arc<str> = wanted.endpoint.to_string().into();
        let breaker = match (policy.circuit_breaker.clone(), before.and_then(|before| before.breaker.as_ref())) {
            (Some(policy), Some(breaker)) => {
                breaker.update(policy);
                Some(Arc::clone(breaker))
            }
            (Some(policy), None) => Some(Arc::new(self.breaker(policy, Arc::clone(&name)))),
            (None, before) => {
                // Calls under way hold it, but an open circuit keeps no place from those of a later policy.
                if let Some(breaker) = before {
                    breaker.retire();
                }
                None
            }
        };
        let counter = policy.outlier_detection.as_ref().and_then(|_| self.outliers.counter(&wanted.key));
        let load = before.map_or_else(|| Arc::new(Load::new()), |before| Arc::clone(&before.load));
        Arc::new(Feedback { name, load, breaker, counter })
    }

    fn breaker(&self, policy: CircuitBreaker, name: Arc<str>) -> Breaker {
        let (changed, place) = (Arc::clone(&self.circuits), Arc::clone(&self.circuits));
        let observers = self.state.settings.observers.clone();
        let turned = move |circuit| {
            observers.event(&Event::CircuitChanged { endpoint: &name, circuit });
            changed.notify_one();
        };
        // Calls that wait for ready pick again when a probe's place is free.
        Breaker::within(policy, Arc::clone(&self.share)).on_change(turned).on_place(move || place.notify_one())
    }

    /// Of the endpoints whose connections are being replaced, those that the resolver names no more take no calls. The one
    /// of pick_first has the addresses of all, and goes with the replacement.
    fn drop_replaced(&mut self, resolution: &Resolution) {
        let Some(replaced) = &mut self.replaced else { return };
        let keys: HashSet<Key> = resolution.endpoints.iter().map(|endpoint| key(endpoint.addresses())).collect();
        let (stay, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut replaced.endpoints)
            .into_iter()
            .partition(|endpoint| endpoint.key.is_empty() || keys.contains(&endpoint.key));
        replaced.endpoints = stay;
        self.release(gone);
    }
}

/// The receiver of a subchannel's state, once that has changed; none at the end of the subchannel.
async fn next_state(mut receiver: watch::Receiver<State>) -> Option<watch::Receiver<State>> {
    receiver.changed().await.ok()?;
    Some(receiver)
}

//! The health of the services, as the channels to them know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use meshwork::Channel;
use meshwork::observe::Connectivity;
use meshwork::server::health::{Health, ServingStatus};
use tokio_util::sync::CancellationToken;

use crate::domain::{RouteTable, UpstreamName};

/// Tells the health of the services behind the gateway: one is SERVING while any of the upstreams that its calls go to is
/// ready for calls, and NOT_SERVING otherwise.
pub struct HealthMirror {
    health: Health,
    state: Mutex<MirrorState>,
}

#[derive(Default)]
struct MirrorState {
    /// Each with the upstreams that its calls go to.
    services: BTreeMap<String, Arc<[UpstreamName]>>,
    /// The upstreams that are ready for calls.
    ready: BTreeSet<UpstreamName>,
}

impl HealthMirror {
    /// Tells `health` of services.
    pub fn new(health: Health) -> Self {
        Self { health, state: Mutex::default() }
    }

    /// Tells of the services of `table` from now on, and of no others. A service is NOT_SERVING until one of its upstreams is
    /// ready: a probe of a name that the port doesn't know is an error.
    pub fn show(&self, table: &RouteTable) {
        // Held to the end, so that what is told last is what holds.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let services = table.services().map(|(name, upstreams)| (name.to_owned(), upstreams)).collect();
        let before = std::mem::replace(&mut state.services, services);
        for gone in before.keys().filter(|service| !state.services.contains_key(*service)) {
            self.health.forget(gone);
        }
        for (service, upstreams) in &state.services {
            self.tell(service, upstreams, &state.ready);
        }
    }

    /// Follows the `channel` to `upstream`, which is ready while it is connected, and healthy by what its port says itself.
    /// Ends with `stop`.
    pub async fn follow(self: Arc<Self>, upstream: UpstreamName, channel: Channel, stop: CancellationToken) {
        loop {
            // It connects by itself from here on, without waiting for a call.
            channel.wake();
            let state = channel.state();
            self.set(&upstream, state == Connectivity::Ready, Some(&stop));
            if stop.run_until_cancelled(channel.state_changed(state)).await.is_none() {
                return;
            }
        }
    }

    /// `upstream` isn't followed any more: its `stop` was cancelled.
    pub fn leave(&self, upstream: &UpstreamName) {
        self.set(upstream, false, None);
    }

    /// `upstream` is ready or isn't any more, which whoever was stopped can't know.
    fn set(&self, upstream: &UpstreamName, is_ready: bool, stop: Option<&CancellationToken>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if stop.is_some_and(CancellationToken::is_cancelled) {
            return;
        }
        if is_ready {
            state.ready.insert(upstream.clone());
        } else {
            state.ready.remove(upstream);
        }
        for (service, upstreams) in state.services.iter().filter(|(_, upstreams)| upstreams.contains(upstream)) {
            self.tell(service, upstreams, &state.ready);
        }
    }

    fn tell(&self, service: &str, upstreams: &[UpstreamName], ready: &BTreeSet<UpstreamName>) {
        let serving = upstreams.iter().any(|upstream| ready.contains(upstream));
        self.health.set(service, if serving { ServingStatus::Serving } else { ServingStatus::NotServing });
    }
}

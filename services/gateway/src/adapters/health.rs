//! The health of the services, as the channels to them know it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use meshwork::Channel;
use meshwork::observe::Connectivity;
use meshwork::server::health::{Health, ServingStatus};
use tokio_util::sync::CancellationToken;

use crate::domain::Upstream;

/// Tells the health of the services behind the gateway: one is SERVING while any of its upstreams is ready for calls, and
/// NOT_SERVING otherwise.
pub struct Mirror {
    health: Health,
    /// Each with the upstreams that have it.
    services: Vec<(String, &'static [Upstream])>,
    /// The upstreams that are ready for calls.
    ready: Mutex<BTreeSet<Upstream>>,
}

impl Mirror {
    /// Tells `health` of `services`, which are all NOT_SERVING at first: a probe of a name that the port doesn't know is an
    /// error.
    pub fn new(services: Vec<(String, &'static [Upstream])>, health: Health) -> Arc<Self> {
        for (service, _) in &services {
            health.set(service, ServingStatus::NotServing);
        }
        Arc::new(Self { health, services, ready: Mutex::default() })
    }

    /// Follows the `channel` to `upstream`, which is ready while it is connected, and healthy by what its port says itself.
    /// Ends with `shutdown`.
    pub async fn follow(self: Arc<Self>, upstream: Upstream, channel: Channel, shutdown: CancellationToken) {
        loop {
            // It connects by itself from here on, without waiting for a call.
            channel.wake();
            let state = channel.state();
            self.tell(upstream, state == Connectivity::Ready);
            if shutdown.run_until_cancelled(channel.state_changed(state)).await.is_none() {
                return;
            }
        }
    }

    /// `upstream` is ready or isn't any more.
    fn tell(&self, upstream: Upstream, is_ready: bool) {
        // Held to the end, so that what is told last is what holds.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if is_ready {
            ready.insert(upstream);
        } else {
            ready.remove(&upstream);
        }
        for (service, upstreams) in self.services.iter().filter(|(_, upstreams)| upstreams.contains(&upstream)) {
            let serving = upstreams.iter().any(|upstream| ready.contains(upstream));
            self.health.set(service, if serving { ServingStatus::Serving } else { ServingStatus::NotServing });
        }
    }
}

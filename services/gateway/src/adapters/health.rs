//! The health of the services, as the channels to them know it.

use meshwork::Channel;
use meshwork::observe::Connectivity;
use meshwork::server::health::{Health, ServingStatus};
use tokio_util::sync::CancellationToken;

/// Tells `health` that `services` are SERVING while `channel` is ready for calls to them: connected, and healthy by what
/// their port says itself. NOT_SERVING otherwise. Ends with `shutdown`.
pub async fn mirror(services: Vec<String>, channel: Channel, health: Health, shutdown: CancellationToken) {
    loop {
        // It connects by itself from here on, without waiting for a call.
        channel.wake();
        let state = channel.state();
        let status = match state {
            Connectivity::Ready => ServingStatus::Serving,
            _ => ServingStatus::NotServing,
        };
        for service in &services {
            health.set(service, status);
        }
        if shutdown.run_until_cancelled(channel.state_changed(state)).await.is_none() {
            return;
        }
    }
}

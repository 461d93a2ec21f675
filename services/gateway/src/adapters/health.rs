//! The health of the services, as the channels to them know it.

use meshwork::Channel;
use meshwork::observe::Connectivity;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Tells `reporter` that `services` are SERVING while `channel` is ready for calls to them: connected, and healthy by what
/// their port says itself. NOT_SERVING otherwise. Ends with `shutdown`.
pub async fn mirror(services: Vec<String>, channel: Channel, reporter: HealthReporter, shutdown: CancellationToken) {
    loop {
        // It connects by itself from here on, without waiting for a call.
        channel.wake();
        let state = channel.state();
        let status = match state {
            Connectivity::Ready => ServingStatus::Serving,
            _ => ServingStatus::NotServing,
        };
        tell(&services, &reporter, status).await;
        if shutdown.run_until_cancelled(channel.state_changed(state)).await.is_none() {
            return tell(&services, &reporter, ServingStatus::NotServing).await;
        }
    }
}

async fn tell(services: &[String], reporter: &HealthReporter, status: ServingStatus) {
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}

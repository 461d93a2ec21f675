//! The health of the services, as their own ports tell it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Reported;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

/// Pauses before a watch begins anew double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Tells `reporter` the health of `service` as its own port tells it over `channel`, and NOT_SERVING while that can't be
/// reached. Ends with `shutdown`.
pub async fn mirror(service: String, channel: Channel, reporter: HealthReporter, shutdown: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let watched = shutdown.run_until_cancelled(watch(&service, &channel, &reporter, &mut pause)).await;
        reporter.set_service_status(&service, ServingStatus::NotServing).await;
        let Some(end) = watched else { return };
        if let Err(status) = end
            && status.code() != Code::Unavailable
        {
            tracing::warn!(service, code = ?status.code(), message = status.message(), "a watch of health has ended");
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Follows one watch to its end. `pause` begins anew with each answer.
async fn watch(
    service: &str,
    channel: &Channel,
    reporter: &HealthReporter,
    pause: &mut Duration,
) -> Result<(), Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut answers = HealthClient::new(channel.clone()).watch(request).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        *pause = FIRST_PAUSE;
        let status = match answer.status() {
            Reported::Serving => ServingStatus::Serving,
            Reported::Unknown | Reported::NotServing | Reported::ServiceUnknown => ServingStatus::NotServing,
        };
        reporter.set_service_status(service, status).await;
    }
    Ok(())
}

//! What the services of this process measure.

use meshwork::server::ops::Ops;
use meshwork_chassis::ServiceMetrics;
use meshwork_telemetry::Telemetry;

use crate::config::Settings;
use crate::failure::Failure;

/// Has all services measure their calls.
///
/// # Errors
/// When nothing can be measured.
pub fn measure(settings: &mut Settings) -> Result<Telemetry, Failure> {
    let telemetry = Telemetry::builder()
        .build()
        .map_err(|error| Failure::new(error.to_string(), "this program is damaged; install it again"))?;
    let of = |service| Some(ServiceMetrics::new(telemetry.meter("meshwork"), service));
    settings.users.server.metrics = of("users");
    settings.products.server.metrics = of("products");
    settings.products.client.metrics = of("products");
    settings.orders.server.metrics = of("orders");
    settings.orders.client.metrics = of("orders");
    settings.notifications.server.metrics = of("notifications");
    settings.notifications.client.metrics = of("notifications");
    settings.gateway.server.metrics = of("gateway");
    settings.gateway.client.metrics = of("gateway");
    Ok(telemetry)
}

/// Shows in `ops` what `telemetry` has of the measurements.
pub fn show(ops: Ops, telemetry: Telemetry) -> Ops {
    ops.metrics(move |out: &mut String| match telemetry.prometheus() {
        Ok(text) => out.push_str(&text),
        Err(error) => tracing::error!(%error, "the metrics of calls are left out of this scrape"),
    })
}

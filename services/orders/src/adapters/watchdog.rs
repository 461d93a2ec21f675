//! The watchdog's clockwork.

use std::time::Duration;

use meshwork_chassis::CancellationToken;

use crate::app::App;

/// Looks after pending orders every `interval`, until `shutdown`. `patience` is how long the inventory may take.
pub async fn run(app: App, interval: Duration, patience: Duration, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        if let Err(error) = app.watch_over_pending(patience).await {
            tracing::warn!(%error, "the watchdog tries again");
        }
    }
}

//! The sweeper: lets held pieces go when their time is over.

use std::time::Duration;

use meshwork_chassis::CancellationToken;
use tokio::time::MissedTickBehavior;

use crate::app::App;

/// Sweeps every `interval`, which is above zero, until `shutdown`; a sweep under way is finished first.
pub async fn run(app: App, interval: Duration, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        loop {
            match app.expire_reservations().await {
                Ok(swept) => {
                    if swept.expired > 0 {
                        tracing::info!(reservations = swept.expired, "held pieces were let go");
                    }
                    // A sweep that has got nowhere waits for the next tick.
                    if !swept.more || swept.expired == 0 || shutdown.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "reservations could not expire; they are tried again");
                    break;
                }
            }
        }
    }
}

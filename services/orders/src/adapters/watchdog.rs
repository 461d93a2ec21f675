//! The watchdog's clockwork.

use std::time::Duration;

use meshwork_chassis::CancellationToken;
use meshwork_eventstore::Context;

use crate::app::App;

/// How many batches of orders one round looks at. After an outage of the inventory the orders that have waited are asked
/// about by and by: all at once, their answers would keep new orders waiting.
const ROUND: usize = 5;

/// On whose behalf the watchdog acts, as commits and events keep it.
const ACTOR: &str = "services/orders";

/// Looks after waiting orders every `interval`, until `shutdown`. `patience` is how long the inventory may take.
pub async fn run(app: App, interval: Duration, patience: Duration, shutdown: CancellationToken) {
    // A round goes on where the one before has stopped, so that all have their turn.
    let mut cursor = None;
    while shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        for _ in 0..ROUND {
            let context = Context { actor: ACTOR.to_owned(), ..Context::default() };
            if let Err(error) = context.scope(app.watch_over_waiting(patience, &mut cursor)).await {
                tracing::warn!(%error, "the watchdog tries again");
                break;
            }
            if cursor.is_none() || shutdown.is_cancelled() {
                break;
            }
        }
    }
}

//! A relay that runs, from a log in memory to a bus.

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::outbox::PARTITIONS;
use meshwork_events::{Bus, Published, Relay};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::log::Log;

/// The stream to which it publishes.
pub const STREAM: &str = "bench";

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether the relay has published all.
const LOOK: Duration = Duration::from_millis(1);

/// A relay that runs.
pub struct Running {
    /// From where it publishes.
    pub log: Arc<Log>,
    /// To where.
    pub bus: Arc<dyn Bus>,
    published: Published,
    shutdown: CancellationToken,
    relay: JoinHandle<()>,
}

impl Running {
    /// Starts it, with an empty log.
    pub fn start(bus: Arc<dyn Bus>) -> Self {
        let log = Arc::new(Log::new());
        let relay = Relay::new(log.clone(), bus.clone(), STREAM);
        let (published, shutdown) = (relay.published(), CancellationToken::new());
        let stop = shutdown.clone();
        let relay = tokio::spawn(async move { relay.run(stop).await });
        Self { log, bus, published, shutdown, relay }
    }

    /// Waits until the bus has acknowledged all that the log holds.
    pub async fn caught_up(&self) {
        let is_behind = |partition| self.published.last(partition).unwrap_or_default() < self.log.last(partition);
        let caught_up = async {
            while (0..PARTITIONS).any(is_behind) {
                sleep(LOOK).await;
            }
        };
        if timeout(PATIENCE, caught_up).await.is_err() {
            let reached: Vec<_> = (0..PARTITIONS).map(|partition| self.published.last(partition)).collect();
            panic!("the relay has come to {reached:?} within {PATIENCE:?}");
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.relay).await.unwrap().unwrap();
    }
}

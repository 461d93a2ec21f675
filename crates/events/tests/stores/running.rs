//! Relays and consumers at work.

use std::time::Duration;

use meshwork_events::{Consumer, Relay};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Waits for a condition, at most ten seconds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// What runs until it is stopped.
#[derive(Default)]
pub(crate) struct Running {
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn relay(&mut self, relay: Relay) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move { relay.run(shutdown).await }));
    }

    pub(crate) fn consumer(&mut self, consumer: Consumer) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move { consumer.run(shutdown).await }));
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
        }
    }
}

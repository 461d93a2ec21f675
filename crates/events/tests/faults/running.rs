//! Relays and consumers at work.

use std::time::Duration;

use meshwork_events::{Consumer, Relay};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alarms;

/// How long anything may take: an election, or a start on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How often something happens: usually, or when there is time for more.
pub(crate) fn times(usually: usize, full: usize) -> usize {
    if std::env::var_os("MESHWORK_TEST_FULL").is_some() { full } else { usually }
}

/// Waits for a condition, within [`PATIENCE`].
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// What runs until it is stopped.
#[derive(Default)]
pub(crate) struct Running {
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn relay(&mut self, relay: Relay) {
        alarms::listen();
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move { relay.run(shutdown).await }));
    }

    pub(crate) fn consumer(&mut self, consumer: Consumer) {
        let shutdown = self.shutdown.clone();
        self.tasks.push(tokio::spawn(async move { consumer.run(shutdown).await }));
    }

    /// Ends it as an operator would.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
        }
    }

    /// Ends it wherever it is.
    pub(crate) async fn abort(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let ended = tokio::time::timeout(Duration::from_secs(30), task).await.unwrap();
            assert!(ended.as_ref().err().is_none_or(tokio::task::JoinError::is_cancelled), "{ended:?}");
        }
    }
}

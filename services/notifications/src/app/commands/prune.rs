//! Deletes what was sent or given up long ago.

use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::CancellationToken;

use crate::app::Notifications;
use crate::ports::StoreError;

/// How often it is looked for what is old.
const INTERVAL: Duration = Duration::from_secs(60);
/// How many rows one transaction deletes.
const BATCH: usize = 500;

impl Notifications {
    /// Deletes notifications whose retention is over, and their letters where the mail system keeps them, until `shutdown`.
    pub async fn prune(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            if let Some(Err(error)) = shutdown.run_until_cancelled(self.prune_all()).await {
                tracing::warn!(%error, "old notifications can't be deleted; trying again");
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    async fn prune_all(&self) -> Result<(), StoreError> {
        while self.store.prune(self.rules.retention, BATCH).await? >= BATCH as u64 {}
        let old = self.clock.now() - self.rules.retention;
        if let Err(error) = self.mailer.prune(old).await {
            tracing::warn!(%error, "old letters can't be removed; trying again");
        }
        Ok(())
    }
}

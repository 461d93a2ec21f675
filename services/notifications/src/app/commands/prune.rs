//! Gives up what has waited for too long, and deletes what was sent or given up long ago.

use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::CancellationToken;

use crate::app::Notifications;
use crate::ports::StoreError;

/// How often it is looked for what is old.
const INTERVAL: Duration = Duration::from_secs(60);
/// How many rows one transaction gives up or deletes.
const BATCH: usize = 500;

impl Notifications {
    /// Gives up letters that nobody has taken in time, and deletes notifications whose retention is over and their letters
    /// where the mail system keeps them, until `shutdown`.
    pub async fn prune(self: Arc<Self>, shutdown: CancellationToken) {
        // What has waited while no instance was there is tried before it is given up.
        let mut may_give_up = false;
        loop {
            if let Some(Err(error)) = shutdown.run_until_cancelled(self.prune_all(may_give_up)).await {
                tracing::warn!(%error, "old notifications can't be given up or deleted; trying again");
            }
            may_give_up = true;
            if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    async fn give_up_all(&self) -> Result<(), StoreError> {
        loop {
            let given_up = self.store.give_up(self.rules.give_up_after, BATCH).await?;
            if given_up > 0 {
                tracing::error!(given_up, "letters could not be delivered in time and were given up");
            }
            if given_up < BATCH as u64 {
                return Ok(());
            }
        }
    }

    async fn prune_all(&self, may_give_up: bool) -> Result<(), StoreError> {
        if may_give_up {
            self.give_up_all().await?;
        }
        while self.store.prune(self.rules.retention, BATCH).await? >= BATCH as u64 {}
        let old = self.clock.now() - self.rules.retention;
        if let Err(error) = self.mailer.prune(old).await {
            tracing::warn!(%error, "old letters can't be removed; trying again");
        }
        Ok(())
    }
}

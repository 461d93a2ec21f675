//! The projector: follows the event store and keeps the read model up to date.

use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::CancellationToken;
use meshwork_events::Progress;
use meshwork_eventstore::EventStore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::read_model::SqliteReadModel;
use crate::ports::StoreError;

/// How many commits one transaction applies.
const BATCH: usize = 256;
/// How long the projector sleeps when nothing wakes it, and after a failure.
const POLL: Duration = Duration::from_secs(1);

/// Follows every partition of `store` until `shutdown`; `progress`, of its partitions, tells how far behind it is.
pub async fn run(progress: Progress, store: Arc<dyn EventStore>, view: SqliteReadModel, shutdown: CancellationToken) {
    let mut partitions = JoinSet::new();
    for partition in 0..store.partitions() {
        let (store, view, progress, shutdown) = (store.clone(), view.clone(), progress.clone(), shutdown.clone());
        partitions.spawn(async move {
            while let Err(error) = follow(store.as_ref(), &view, &progress, partition, &shutdown).await {
                tracing::warn!(partition, %error, "projecting is tried again");
                if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                    return;
                }
            }
        });
    }
    partitions.join_all().await;
}

/// Follows a partition until `shutdown`, or until a store fails.
async fn follow(
    store: &dyn EventStore,
    view: &SqliteReadModel,
    progress: &Progress,
    partition: u16,
    shutdown: &CancellationToken,
) -> Result<(), StoreError> {
    let mut beats = store.beats(partition);
    let mut after = view.checkpoint(partition).await?;
    loop {
        let asked = Instant::now();
        let commits = store.read_partition(partition, after, BATCH).await?;
        // A batch that isn't full has reached the end, and a beat will tell of more.
        let at_end = commits.len() < BATCH;
        match commits.last().map(|commit| (commit.position.n, commit.at)) {
            Some((last, at)) if view.apply(partition, after, commits).await? => {
                after = last;
                progress.reached(partition, at);
            }
            Some(_) => after = view.checkpoint(partition).await?,
            None => {}
        }
        if at_end {
            progress.caught_up(partition, asked);
        }
        if shutdown.is_cancelled() || at_end && shutdown.run_until_cancelled(beats.any(POLL)).await.is_none() {
            return Ok(());
        }
    }
}

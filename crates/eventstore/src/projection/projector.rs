//! Following the store: the live version is kept up to date.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::overlap::{Behind, read_behind};
use super::{Applied, ApplyMode, Checkpoint, ProjectionStore, VersionState};
use crate::{EventStore, StoreError};

/// How many commits one transaction applies.
const BATCH: usize = 256;
/// How long the projector sleeps when nothing wakes it, and after a failure.
const POLL: Duration = Duration::from_secs(1);

/// How far apart the batches of a partition begin at least once it is caught up: what is written meanwhile shares a
/// transaction. The first after a silence is applied at once.
const PACE: Duration = Duration::from_millis(50);
/// How long to wait before a version that is held is tried again.
const HELD: Duration = Duration::from_millis(10);
/// How often it is said that a version has diverged from the store.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Hears how far a projector is: for health checks and metrics.
pub trait ProjectorHook: Send + Sync + 'static {
    /// A version has applied everything of a partition up to `position`, whose commit was made at `at`.
    fn reached(&self, version: i64, partition: u16, position: i64, at: OffsetDateTime);

    /// Everything that was known of a partition at `asked` has been applied. What another process adds is known within
    /// seconds ([`EventStore::read_partition`]).
    fn caught_up(&self, partition: u16, asked: Instant);

    /// The store doesn't hold what was applied last of a partition, as `problem` says with what can be done: nothing more is
    /// applied of it, until it is reached or caught up again.
    fn diverged(&self, partition: u16, problem: &str);
}

/// Keeps the live version of a projection up to date.
pub struct Projector {
    store: Arc<dyn EventStore>,
    projection: Arc<dyn ProjectionStore>,
    hook: Arc<dyn ProjectorHook>,
}

impl Projector {
    /// A projector from `store` to `projection`.
    pub fn new(store: Arc<dyn EventStore>, projection: Arc<dyn ProjectionStore>, hook: Arc<dyn ProjectorHook>) -> Self {
        Self { store, projection, hook }
    }

    /// Follows every partition until `shutdown`. Several may run at once, in one process or in many: each commit is applied
    /// once. Failures are tried again for ever, with pauses; so is a store that doesn't hold what was applied.
    pub async fn run(self, shutdown: CancellationToken) {
        let projector = Arc::new(self);
        let mut partitions = JoinSet::new();
        for partition in 0..projector.store.partitions() {
            let (projector, shutdown) = (projector.clone(), shutdown.clone());
            partitions.spawn(async move {
                let mut said = None;
                while let Err(error) = projector.follow(partition, &mut said, &shutdown).await {
                    tracing::warn!(partition, %error, "projecting is tried again");
                    if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                        return;
                    }
                }
            });
        }
        partitions.join_all().await;
    }

    /// The version that queries read.
    async fn live(&self) -> Result<i64, StoreError> {
        let versions = self.projection.versions().await?;
        let live = versions.iter().find(|(_, state)| *state == VersionState::Live);
        live.map(|(version, _)| *version)
            .ok_or_else(|| StoreError::Unavailable("the projection has no live version".to_owned()))
    }

    /// Follows a partition until `shutdown`, or until a store fails. `said` is when it was last said that it has diverged.
    async fn follow(
        &self,
        partition: u16,
        said: &mut Option<Instant>,
        shutdown: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut beats = self.store.beats(partition);
        let mut version = self.live().await?;
        let mut checkpoint = self.projection.checkpoint(version, partition).await?;
        loop {
            let asked = Instant::now();
            let commits = match read_behind(self.store.as_ref(), partition, &checkpoint, BATCH).await? {
                Behind::Commits(commits) => commits,
                Behind::Diverged(problem) => {
                    self.hook.diverged(partition, &problem);
                    if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                        tracing::error!(partition, version, "projection_diverged: nothing more is applied: {problem}");
                        *said = Some(Instant::now());
                    }
                    if shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                        return Ok(());
                    }
                    // Another version may be live by now.
                    version = self.live().await?;
                    checkpoint = self.projection.checkpoint(version, partition).await?;
                    continue;
                }
            };
            if said.take().is_some() {
                tracing::info!(partition, version, "the event store holds what was applied; it is followed again");
            }
            // A batch that isn't full has reached the end, and a beat will tell of more.
            let mut at_end = commits.len() < BATCH;
            let applies = !commits.is_empty();
            if let Some((last, at)) = commits.last().map(|commit| (Checkpoint::of(commit), commit.at)) {
                let after = checkpoint.position;
                match self.projection.apply(version, partition, after, commits, ApplyMode::Park).await? {
                    Applied::Yes => {
                        fail::fail_point!("projector::applied");
                        checkpoint = last;
                        self.hook.reached(version, partition, checkpoint.position, at);
                    }
                    // Another projector is at work, another version is live, or this one is held for a moment.
                    Applied::Elsewhere => {
                        version = self.live().await?;
                        checkpoint = self.projection.checkpoint(version, partition).await?;
                        if checkpoint.position == after {
                            tokio::time::sleep(HELD).await;
                        }
                        at_end = false;
                    }
                    Applied::Poisoned { stream, reason } => {
                        return Err(StoreError::Damaged { place: stream, problem: reason });
                    }
                }
            }
            if at_end {
                self.hook.caught_up(partition, asked);
            }
            let woken = async {
                beats.any(POLL).await;
                if applies {
                    tokio::time::sleep_until(asked + PACE).await;
                }
            };
            if shutdown.is_cancelled() || at_end && shutdown.run_until_cancelled(woken).await.is_none() {
                return Ok(());
            }
        }
    }
}

//! The read model as a projection of the event store.

use async_trait::async_trait;
use meshwork_events::Progress;
use meshwork_eventstore::projection::{
    ProjectionError, ProjectionProgress, ProjectionReport, ProjectionStatus, Projections, ProjectorHook,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ports::{ListFollowing, Projection};

/// Tells the health check how far behind the lists are.
pub struct Lag(pub Progress);

impl ProjectorHook for Lag {
    fn reached(&self, _version: i64, partition: u16, _position: i64, at: OffsetDateTime) {
        self.0.reached(partition, at);
    }

    fn caught_up(&self, partition: u16, asked: Instant) {
        self.0.caught_up(partition, asked);
    }

    fn diverged(&self, partition: u16, problem: &str) {
        let rebuild = "`meshwork projections rebuild orders --accept-differences`";
        self.0.stopped(partition, &format!("{problem}: {rebuild}; until then the watchdog doesn't see its orders"));
    }
}

impl ListFollowing for Progress {
    fn stands_still(&self, partition: u16) -> bool {
        self.problem_of(partition).is_some()
    }
}

#[async_trait]
impl Projection for Projections {
    async fn status(&self) -> Result<ProjectionStatus, ProjectionError> {
        Projections::status(self).await
    }

    async fn rebuild(
        &self,
        accept_differences: bool,
        progress: watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        Projections::rebuild(self, accept_differences, progress).await
    }

    async fn rollback(&self, progress: watch::Sender<ProjectionProgress>) -> Result<ProjectionReport, ProjectionError> {
        Projections::rollback(self, progress).await
    }

    async fn retry(&self, stream: &str) -> Result<(), ProjectionError> {
        Projections::retry(self, stream).await
    }
}

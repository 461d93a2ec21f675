//! The read model as a projection with one version: it tells how it is, and can't be made anew.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_eventstore::EventStore;
use tokio::sync::watch;

use super::read_model::SqliteReadModel;
use crate::ports::{
    PartitionStatus, Projection, ProjectionError, ProjectionProgress, ProjectionReport, ProjectionStatus, StoreError,
    VersionState, VersionStatus,
};

/// The read model and what it follows.
pub struct PlainView {
    /// The events.
    pub events: Arc<dyn EventStore>,
    /// The lists.
    pub view: SqliteReadModel,
}

#[async_trait]
impl Projection for PlainView {
    async fn status(&self) -> Result<ProjectionStatus, ProjectionError> {
        let mut partitions = Vec::new();
        for partition in 0..self.events.partitions() {
            let position = self.view.checkpoint(partition).await?;
            let head = self.events.head(partition).await.map_err(StoreError::from)?;
            partitions.push(PartitionStatus { partition, position, head });
        }
        let parked = self.view.parked(self.events.partitions()).await?;
        let live = VersionStatus { version: 1, state: VersionState::Live, partitions, parked };
        Ok(ProjectionStatus { versions: vec![live], last_report: None })
    }

    async fn rebuild(
        &self,
        _accept_differences: bool,
        _progress: watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        Err(ProjectionError::Unsupported)
    }

    async fn rollback(
        &self,
        _progress: watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError> {
        Err(ProjectionError::NothingToRollBack)
    }

    async fn retry(&self, _stream: &str) -> Result<(), ProjectionError> {
        Err(ProjectionError::Unsupported)
    }
}

//! Projections, as those see them who run the shop.

use async_trait::async_trait;
pub use meshwork_eventstore::projection::{
    Difference, ParkedStream, PartitionStatus, Phase, ProjectionError, ProjectionProgress, ProjectionReport,
    ProjectionStatus, VersionState, VersionStatus,
};
use tokio::sync::watch;

/// Something that is made of events and can be made again. What is dropped in the middle leaves the live version as it is.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// The projection as it is.
    ///
    /// # Errors
    /// When a store fails.
    async fn status(&self) -> Result<ProjectionStatus, ProjectionError>;

    /// Makes a new version beside the live one, compares the two, and makes the new one live; with `accept_differences`
    /// even if rows differ.
    ///
    /// # Errors
    /// See [`ProjectionError`].
    async fn rebuild(
        &self,
        accept_differences: bool,
        progress: watch::Sender<ProjectionProgress>,
    ) -> Result<ProjectionReport, ProjectionError>;

    /// Goes back to the version that was live before, once it has caught up.
    ///
    /// # Errors
    /// See [`ProjectionError`].
    async fn rollback(&self, progress: watch::Sender<ProjectionProgress>) -> Result<ProjectionReport, ProjectionError>;

    /// Applies a parked stream again.
    ///
    /// # Errors
    /// See [`ProjectionError`].
    async fn retry(&self, stream: &str) -> Result<(), ProjectionError>;
}

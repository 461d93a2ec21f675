//! Snapshots: the state of an aggregate at a version, so that its whole stream need not be read.
//!
//! They are an optimisation and nothing more: without any of them every answer is the same (ES-4). They are only ever
//! added.

use async_trait::async_trait;
use bytes::Bytes;

use crate::StoreError;

/// The state of an aggregate at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The stream.
    pub stream: String,
    /// The stream's version.
    pub version: i64,
    /// The shape of the state. A snapshot of another shape is not looked at.
    pub schema: String,
    /// The encoded state.
    pub data: Bytes,
}

/// Where snapshots are kept.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Keeps a snapshot; one of the same stream, version and schema stays as it is. Of those of a stream and schema the two
    /// newest are kept: the others are never looked at.
    ///
    /// # Errors
    /// When the store fails.
    async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError>;

    /// The snapshot of a stream with the highest version, of this schema.
    ///
    /// # Errors
    /// When the store fails.
    async fn latest(&self, stream: &str, schema: &str) -> Result<Option<Snapshot>, StoreError>;
}

//! Snapshots beside the commits.

use async_trait::async_trait;
use bytes::Bytes;
use mongodb::bson::raw::RawDocumentBuf;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, doc, rawdoc};
use mongodb::error::{ErrorKind, WriteFailure};

use super::MongoEventStore;
use super::error::DUPLICATE_KEY;
use crate::{EventStore as _, Snapshot, SnapshotStore, StoreError, partition_of};

impl MongoEventStore {
    fn snapshots(&self, stream: &str) -> Option<&mongodb::Collection<RawDocumentBuf>> {
        self.server().snapshots.get(usize::from(partition_of(stream, self.partitions())))
    }
}

#[async_trait]
impl SnapshotStore for MongoEventStore {
    async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let Some(snapshots) = self.snapshots(&snapshot.stream) else { return Ok(()) };
        let Snapshot { stream, version, schema, data } = snapshot;
        let of_shape = doc! { "s": &stream, "h": &schema };
        let document = rawdoc! {
            "_id": format!("{stream}@{version}#{schema}"),
            "s": stream,
            "h": schema,
            "v": version,
            "d": Binary { subtype: BinarySubtype::Generic, bytes: data.to_vec() },
        };
        let saved = self.server().timed(async {
            match snapshots.insert_one(&document).await {
                Err(error) if is_there(&error) => return Ok(()),
                result => _ = result?,
            }
            let second = snapshots.find_one(of_shape.clone()).sort(doc! { "v": -1 }).skip(1).await?;
            if let Some(version) = second.and_then(|second| second.get_i64("v").ok()) {
                let mut older = of_shape;
                older.insert("v", doc! { "$lt": version });
                snapshots.delete_many(older).await?;
            }
            Ok(())
        });
        Ok(saved.await?)
    }

    async fn latest(&self, stream: &str, schema: &str) -> Result<Option<Snapshot>, StoreError> {
        let Some(snapshots) = self.snapshots(stream) else { return Ok(None) };
        let filter = doc! { "s": stream, "h": schema };
        let found = self.server().timed(async { snapshots.find_one(filter).sort(doc! { "v": -1 }).await }).await?;
        let snapshot = |document: RawDocumentBuf| -> Result<Snapshot, mongodb::bson::error::Error> {
            Ok(Snapshot {
                stream: stream.to_owned(),
                version: document.get_i64("v")?,
                schema: schema.to_owned(),
                data: Bytes::copy_from_slice(document.get_binary("d")?.bytes),
            })
        };
        // One that can't be read is as good as none.
        Ok(found.and_then(|document| {
            snapshot(document).inspect_err(|error| tracing::warn!(stream, %error, "a snapshot can't be read")).ok()
        }))
    }
}

fn is_there(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

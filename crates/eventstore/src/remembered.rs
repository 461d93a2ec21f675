//! Aggregates as they were a short while ago: in memory, and as snapshots.

use std::sync::Arc;
use std::time::Duration;

use crate::{Aggregate, Loaded, Snapshot, SnapshotState, SnapshotStore};

/// After how many events there is a new snapshot (MG-10).
const SNAPSHOT_EVERY: i64 = 100;
/// How many aggregates are remembered, and for how long after their last use.
const REMEMBERED: u64 = 10_000;
const REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// What is known of aggregates without reading their streams. All of it is of the end of a commit.
pub(crate) struct Memory<A> {
    snapshots: Option<Snapshots<A>>,
    remembered: moka::sync::Cache<String, Known<A>>,
}

/// An aggregate as it was at some version.
#[derive(Clone)]
pub(crate) struct Known<A> {
    /// The aggregate.
    pub(crate) loaded: Loaded<A>,
    /// The version of the newest snapshot of it.
    pub(crate) snapshot: i64,
}

/// How snapshots of an aggregate are read and written.
struct Snapshots<A> {
    store: Arc<dyn SnapshotStore>,
    schema: &'static str,
    encode: fn(&A) -> Option<Vec<u8>>,
    decode: fn(&[u8]) -> Option<A>,
}

impl<A> Clone for Snapshots<A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), ..*self }
    }
}

impl<A> Clone for Memory<A> {
    fn clone(&self) -> Self {
        Self { snapshots: self.snapshots.clone(), remembered: self.remembered.clone() }
    }
}

impl<A: Aggregate> Memory<A> {
    pub(crate) fn new() -> Self {
        let remembered = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_idle(REMEMBERED_FOR).build();
        Self { snapshots: None, remembered }
    }

    pub(crate) fn with_snapshots(self, snapshots: Arc<dyn SnapshotStore>) -> Self
    where
        A: SnapshotState,
    {
        let snapshots =
            Snapshots { store: snapshots, schema: A::SCHEMA, encode: <A as SnapshotState>::encode, decode: A::decode };
        Self { snapshots: Some(snapshots), ..self }
    }

    /// An aggregate as it is remembered, which may be older than it is.
    pub(crate) fn recall(&self, stream: &str) -> Option<Loaded<A>> {
        self.remembered.get(stream).map(|known| known.loaded)
    }

    /// Where the reading of a stream may begin.
    pub(crate) async fn known(&self, stream: &str) -> Known<A> {
        match self.remembered.get(stream) {
            Some(known) => known,
            None => self.snapshot(stream).await,
        }
    }

    async fn snapshot(&self, stream: &str) -> Known<A> {
        let nothing = Known { loaded: Loaded::default(), snapshot: 0 };
        let Some(snapshots) = &self.snapshots else { return nothing };
        match snapshots.store.latest(stream, snapshots.schema).await {
            Ok(Some(snapshot)) => match (snapshots.decode)(&snapshot.data) {
                Some(state) => Known {
                    loaded: Loaded { state: Some(state), version: snapshot.version },
                    snapshot: snapshot.version,
                },
                None => nothing,
            },
            Ok(None) => nothing,
            // The stream itself tells as much, if more slowly.
            Err(error) => {
                tracing::warn!(stream, %error, "no snapshot could be read");
                nothing
            }
        }
    }

    /// Remembers an aggregate, and keeps a snapshot when it has come far since the last one, which is of version
    /// `snapshot` as far as the caller knows, while the caller goes on.
    pub(crate) fn remember(&self, stream: &str, loaded: &Loaded<A>, snapshot: i64) {
        if loaded.version == 0 {
            return;
        }
        let before = self.remembered.get(stream);
        // Who was slow doesn't make others read again.
        if before.as_ref().is_some_and(|known| known.loaded.version > loaded.version) {
            return;
        }
        let snapshot = before.map_or(0, |known| known.snapshot).max(snapshot);
        let kept = loaded.version - snapshot >= SNAPSHOT_EVERY && self.keep(stream, loaded);
        let known = Known { loaded: loaded.clone(), snapshot: if kept { loaded.version } else { snapshot } };
        self.remembered.insert(stream.to_owned(), known);
    }

    /// Forgets an aggregate: its stream is not what it was.
    pub(crate) fn forget(&self, stream: &str) {
        self.remembered.invalidate(stream);
    }

    /// Begins to keep a snapshot; false when there are none, or of this state.
    fn keep(&self, stream: &str, loaded: &Loaded<A>) -> bool {
        let (Some(snapshots), Some(state)) = (&self.snapshots, &loaded.state) else { return false };
        let Some(data) = (snapshots.encode)(state) else { return false };
        let snapshot = Snapshot {
            stream: stream.to_owned(),
            version: loaded.version,
            schema: snapshots.schema.to_owned(),
            data: data.into(),
        };
        let store = snapshots.store.clone();
        tokio::spawn(async move {
            let stream = snapshot.stream.clone();
            if let Err(error) = store.save(snapshot).await {
                tracing::warn!(stream, %error, "a snapshot was not kept");
            }
            fail::fail_point!("snapshot::saved");
        });
        true
    }
}

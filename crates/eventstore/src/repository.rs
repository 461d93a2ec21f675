//! Aggregates in an event store: loading them as they are, and as they were. What changes them is in `execute`.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::remembered::{Known, Memory};
use crate::{Aggregate, EventStore, Loaded, Recorded, SnapshotState, SnapshotStore, StoreError, fold, recorded};

/// Aggregates of one kind in an event store, a stream each.
///
/// Those that were used a short while ago are remembered as they were then, so that only what is behind that is read. What
/// is read is always current; [`execute`](Self::execute) tries a command on what is remembered first.
pub struct Repository<A> {
    store: Arc<dyn EventStore>,
    memory: Memory<A>,
}

impl<A> Clone for Repository<A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), memory: self.memory.clone() }
    }
}

impl<A: Aggregate> Repository<A> {
    /// Aggregates in `store`.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, memory: Memory::new() }
    }

    /// Keeps a snapshot of an aggregate after every 100 events, off the path of its commands.
    pub fn with_snapshots(self, snapshots: Arc<dyn SnapshotStore>) -> Self
    where
        A: SnapshotState,
    {
        Self { memory: self.memory.with_snapshots(snapshots), ..self }
    }

    /// The event store.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// What is known without reading.
    pub(crate) fn memory(&self) -> &Memory<A> {
        &self.memory
    }

    /// An aggregate as it is.
    ///
    /// # Errors
    /// When the store fails, or an event can't be understood.
    pub async fn load(&self, stream: &str) -> Result<Loaded<A>, StoreError> {
        let Known { mut loaded, snapshot } = self.memory.known(stream).await;
        let from = loaded.version;
        let commits = match from {
            0 => self.store.read(stream, 0).await?,
            // Both a snapshot and what is remembered are of the end of a commit.
            end => self.store.read_behind(stream, end).await?,
        };
        for commit in &commits {
            for recorded in recorded(commit)?.into_iter().filter(|recorded| recorded.version > from) {
                loaded.version = recorded.version;
                loaded.state = A::evolve(loaded.state, stream, &recorded);
            }
        }
        self.memory.remember(stream, &loaded, snapshot);
        Ok(loaded)
    }

    /// An aggregate as it was at a version, or at the end of its history when that is shorter.
    ///
    /// # Errors
    /// As [`Repository::load`].
    pub async fn load_at(&self, stream: &str, version: i64) -> Result<Loaded<A>, StoreError> {
        self.load_while(stream, |recorded| recorded.version <= version).await
    }

    /// An aggregate as it was at a time: all that was recorded until then, up to the first event of later.
    ///
    /// # Errors
    /// As [`Repository::load`].
    pub async fn load_at_time(&self, stream: &str, at: OffsetDateTime) -> Result<Loaded<A>, StoreError> {
        self.load_while(stream, |recorded| recorded.at <= at).await
    }

    async fn load_while(
        &self,
        stream: &str,
        wanted: impl Fn(&Recorded<A::Event>) -> bool,
    ) -> Result<Loaded<A>, StoreError> {
        let history = self.history(stream, 0).await?;
        let wanted: Vec<_> = history.into_iter().take_while(wanted).collect();
        let version = wanted.last().map_or(0, |recorded| recorded.version);
        Ok(Loaded { state: fold(None, stream, &wanted), version })
    }

    /// The events of an aggregate with a version above `after` (0 for all), in order.
    ///
    /// # Errors
    /// As [`Repository::load`].
    pub async fn history(&self, stream: &str, after: i64) -> Result<Vec<Recorded<A::Event>>, StoreError> {
        let mut history = Vec::new();
        for commit in self.store.read(stream, after).await? {
            history.extend(recorded(&commit)?.into_iter().filter(|recorded| recorded.version > after));
        }
        Ok(history)
    }
}

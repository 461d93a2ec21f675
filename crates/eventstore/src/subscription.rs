//! Following a partition.

use std::sync::Arc;
use std::time::Duration;

use crate::{Beats, Commit, EventStore, StoreError};

/// How many commits a batch has at most.
const BATCH: usize = 256;
/// How long a follower sleeps when no beat wakes it.
const POLL: Duration = Duration::from_secs(1);

/// Follows a partition of a store from a position, without gap or repeat.
pub struct Subscription {
    store: Arc<dyn EventStore>,
    partition: u16,
    after: i64,
    beats: Beats,
}

impl Subscription {
    /// The commits of `partition` with a position above `after` (0 for all), those to come included.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use meshwork_eventstore::{EventStore, StoreError, Subscription};
    /// async fn follow(store: Arc<dyn EventStore>, seen: i64) -> Result<(), StoreError> {
    ///     let mut subscription = Subscription::new(store, 0, seen);
    ///     loop {
    ///         for commit in subscription.next().await? {
    ///             println!("{} at {:?}", commit.stream, commit.position);
    ///         }
    ///     }
    /// }
    /// ```
    pub fn new(store: Arc<dyn EventStore>, partition: u16, after: i64) -> Self {
        let beats = store.beats(partition);
        Self { store, partition, after, beats }
    }

    /// The next commits, at least one, as soon as there are some. Dropped in the middle, it loses nothing; after an
    /// error it goes on where it was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next(&mut self) -> Result<Vec<Commit>, StoreError> {
        loop {
            let commits = self.read().await?;
            if !commits.is_empty() {
                return Ok(commits);
            }
            self.beats.any(POLL).await;
        }
    }

    /// The commits that there are at this moment, perhaps none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn read(&mut self) -> Result<Vec<Commit>, StoreError> {
        let commits = self.store.read_partition(self.partition, self.after, BATCH).await?;
        if let Some(last) = commits.last() {
            self.after = last.position.n;
        }
        Ok(commits)
    }

    /// The position up to which everything has been handed out.
    pub fn position(&self) -> i64 {
        self.after
    }
}

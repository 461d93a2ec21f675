//! Reading on behind a checkpoint, with an overlap of one commit: it shows whether the store still holds what was applied.
//!
//! A store that was put back to an older copy ends before the checkpoint, or holds another commit there: what is read behind it
//! doesn't follow what was applied. The overlap costs a row and no statement.

use std::time::Duration;

use super::Checkpoint;
use crate::{Commit, EventStore, StoreError};

/// How long to wait before the last look: the majority of a database may be a moment behind what others have met.
const CONFIRM: Duration = Duration::from_millis(500);

/// What is behind a checkpoint.
pub(super) enum Behind {
    /// The next commits, perhaps none.
    Commits(Vec<Commit>),
    /// The store doesn't hold the checkpoint's commit: what was found, and what can be done.
    Diverged(String),
}

/// At most `limit` commits behind a checkpoint, if the store still holds the checkpoint's commit.
pub(super) async fn read_behind(
    store: &dyn EventStore,
    partition: u16,
    checkpoint: &Checkpoint,
    limit: usize,
) -> Result<Behind, StoreError> {
    let n = checkpoint.position;
    if n <= 0 {
        return Ok(Behind::Commits(store.read_partition(partition, 0, limit).await?));
    }
    // What another process has made and applied may not be known here yet: it is once the head was asked for.
    let mut pauses = [Duration::ZERO, CONFIRM].into_iter();
    let mut head = 0;
    loop {
        let mut commits = store.read_partition(partition, n - 1, limit.saturating_add(1)).await?;
        let first = commits.first().filter(|commit| commit.position.n == n).map(Commit::identity);
        let found = match first {
            Some(identity) if is_same(&identity, &checkpoint.identity) => {
                commits.remove(0);
                return Ok(Behind::Commits(commits));
            }
            Some(_) => format!("its commit {n} of partition {partition} is not the one that was applied"),
            None if head < n => format!("it ends at commit {head} of partition {partition}, and {n} were applied"),
            None => format!("it has lost commit {n} of partition {partition}, which was applied"),
        };
        let Some(pause) = pauses.next() else { return Ok(Behind::Diverged(sentence(&found))) };
        tokio::time::sleep(pause).await;
        head = store.head(partition).await?;
    }
}

/// Whether these are the identities of one commit, as far as is known.
fn is_same(held: &str, applied: &str) -> bool {
    held.is_empty() || applied.is_empty() || held == applied
}

fn sentence(found: &str) -> String {
    format!(
        "the event store was put back to an older copy, or is another one: {found}; put the right one back, or rebuild the \
         projection and accept the differences"
    )
}

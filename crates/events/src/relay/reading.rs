//! Reading a source, within a bound.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::{Envelope, Position, Source, SourceBatch};

/// How long the source may take to be read: a server may be gone without a word.
const READ: Duration = Duration::from_secs(30);
/// How often the event at the lane's tail is looked for before it counts as lost.
const LOOKS: u32 = 4;

async fn bounded<T>(read: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let read = tokio::time::timeout(READ, read).await;
    read.unwrap_or_else(|_| Err(format!("no answer within {} s", READ.as_secs())))
}

/// As [`Source::read`], within 30 s.
pub(super) async fn read(source: &dyn Source, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
    bounded(source.read(partition, n, limit)).await
}

/// Whether the source holds the event at the lane's tail; `None` when `shutdown` comes first.
///
/// Another process may have published what this one has not met yet, nor the server that it happens to ask.
pub(super) async fn holds(
    source: &dyn Source,
    tail: &Envelope,
    shutdown: &CancellationToken,
) -> Result<Option<bool>, String> {
    let Position { partition, n, .. } = tail.position;
    let mut backoff = Backoff::new();
    for _ in 0..LOOKS {
        let batch = bounded(source.read_now(partition, n, 1)).await?;
        if batch.seen.is_some() {
            if batch.damaged.iter().any(|damaged| damaged.n == n) {
                // It was published before it was damaged.
                tracing::warn!(partition, n, "the event at the lane's tail can't be read in its source any more");
                return Ok(Some(true));
            }
            let is_tail = |event: &Envelope| event.position == tail.position && source.is_same(event, tail);
            return Ok(Some(batch.events.iter().any(is_tail)));
        }
        if !backoff.pause(shutdown).await {
            return Ok(None);
        }
    }
    Ok(Some(false))
}

/// The first position from `first` to `last` whose events happened after `since`; the one behind `last` when there is none.
/// Positions are taken to be in order of time, as they are to within the seconds that processes' clocks differ.
pub(super) async fn first_since(
    source: &dyn Source,
    partition: u16,
    (first, last): (i64, i64),
    since: OffsetDateTime,
) -> Result<i64, String> {
    let (mut from, mut to) = (first, last + 1);
    while from < to {
        let middle = from + (to - from) / 2;
        let batch = read(source, partition, middle, 1).await?;
        // A commit without events says nothing; the next that has some does.
        let is_since = batch.events.first().is_none_or(|event| event.time > since);
        if is_since { to = middle } else { from = middle + 1 }
    }
    Ok(from)
}

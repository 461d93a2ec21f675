//! Up to where a source and a lane hold the same, when the source was put back to an older copy.

use std::time::Duration;

use time::OffsetDateTime;

use super::reading::read;
use crate::bus::{Bus, Lane, ReadFrom, Scope};
use crate::{Envelope, Position, Source};

/// How long an event of the lane is waited for that may not be there.
const WAIT: Duration = Duration::from_secs(2);

/// Up to which position the source and the lane hold the same, below an event of the lane that the source doesn't hold. What
/// a copy has of the source is a beginning of it, so that half of what is left is looked at each time.
pub(super) async fn common(source: &dyn Source, bus: &dyn Bus, lane: &Lane, tail: &Envelope) -> Result<i64, String> {
    let (mut same, mut other) = (0, tail.position.n);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if is_published(source, bus, lane, middle).await? { same = middle } else { other = middle }
    }
    Ok(same)
}

/// Whether the source has published to the stream at all: the first event that it holds of some partition is there too. Else it
/// is no older copy of what has, but another source.
pub(super) async fn has_published(source: &dyn Source, bus: &dyn Bus, stream: &str) -> Result<bool, String> {
    let partitions = source.partitions();
    for lane in bus.lanes(stream).iter().filter(|lane| partitions.contains(&lane.partition)) {
        let batch = read(source, lane.partition, 1, 1).await?;
        let Some(event) = batch.events.first() else { continue };
        if event_at(bus, lane, event.position).await?.is_some_and(|published| source.is_same(event, &published)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what the source holds at a position, if anything, is what the lane holds there, or has held.
async fn is_published(source: &dyn Source, bus: &dyn Bus, lane: &Lane, n: i64) -> Result<bool, String> {
    let batch = read(source, lane.partition, n, 1).await?;
    let Some(event) = batch.events.first() else { return Ok(false) };
    if event.position.n != n {
        // The source has removed it, which it does with what is published.
        return Ok(true);
    }
    match event_at(bus, lane, event.position).await? {
        Some(published) => Ok(source.is_same(event, &published)),
        // The bus has removed it, if it is as old as that.
        None => Ok(OffsetDateTime::now_utc() - event.time > bus.retention()),
    }
}

/// The event that the lane holds at a position.
async fn event_at(bus: &dyn Bus, lane: &Lane, position: Position) -> Result<Option<Envelope>, String> {
    let before = match position.index {
        0 => Position { n: position.n - 1, index: u32::MAX, ..position },
        index => Position { index: index - 1, ..position },
    };
    let reader = bus.reader(lane, ReadFrom::Behind(before), Scope::Published).await;
    let mut reader = reader.map_err(|error| error.to_string())?;
    let found = reader.next(1, WAIT).await.map_err(|error| error.to_string())?;
    Ok(found.into_iter().next().filter(|event| event.position == position))
}

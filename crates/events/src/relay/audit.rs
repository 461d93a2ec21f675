//! What a broker has lost from the middle of a lane is published again, beside it (NT-4).

use std::collections::HashSet;
use std::time::Duration;

use time::OffsetDateTime;

use super::parking::Blocked;
use super::reading::{first_since, read};
use crate::bus::{Bus, BusError, Lane, Publisher, ReadFrom, Reader, Scope};
use crate::{Envelope, Position, Source};

/// How many commits are looked at, and events read, at once.
const PAGE: usize = 256;
/// How long the lane's next event is waited for: none within that time is its end.
const WAIT: Duration = Duration::from_secs(2);
/// How many events may lie beside a lane and be remembered.
const REPAIRED: usize = 1_000_000;

/// The positions that a lane holds, in order.
struct Held {
    reader: Box<dyn Reader>,
    page: std::vec::IntoIter<Envelope>,
    next: Option<Position>,
}

impl Held {
    /// Whether the lane holds the event at this position; asked in order.
    async fn contains(&mut self, position: Position) -> Result<bool, String> {
        while self.next.is_none_or(|next| next < position) {
            match self.page.next() {
                Some(event) => self.next = Some(event.position),
                None => {
                    let page = self.reader.next(PAGE, WAIT).await.map_err(|error| error.to_string())?;
                    if page.is_empty() {
                        return Ok(false);
                    }
                    self.page = page.into_iter();
                }
            }
        }
        Ok(self.next == Some(position))
    }
}

/// What an audit has come to.
#[derive(Default)]
pub(super) struct Found {
    /// How many events were published again.
    pub(super) repaired: u64,
    /// How many are lacking still, of aggregates that are parked.
    pub(super) left_out: u64,
}

/// Publishes beside the lane what it lacks of the events up to its tail, though they are younger than `since`. Those of
/// aggregates that are parked are left out.
pub(super) async fn audit(
    source: &dyn Source,
    bus: &dyn Bus,
    lane: &Lane,
    publisher: &mut dyn Publisher,
    since: OffsetDateTime,
    blocked: &Blocked,
) -> Result<Found, String> {
    let mut found = Found::default();
    let Some(tail) = publisher.tail().map(|tail| tail.position) else { return Ok(found) };
    let repaired = repaired(bus, lane).await?;
    let mut n = first_since(source, lane.partition, (1, tail.n), since).await?;
    let behind = Position { partition: lane.partition, n: n - 1, index: u32::MAX };
    let reader = bus.reader(lane, ReadFrom::Behind(behind), Scope::Published).await;
    let reader = reader.map_err(|error| error.to_string())?;
    let mut held = Held { reader, page: Vec::new().into_iter(), next: None };
    while n <= tail.n {
        let batch = read(source, lane.partition, n, PAGE).await?;
        let Some(seen) = batch.seen else { break };
        n = seen + 1;
        let mut missing = Vec::new();
        for event in batch.events {
            // Ageing takes what is old while we look.
            let is_of_age = event.position > tail || event.time <= since;
            if is_of_age || repaired.contains(&event.position) || held.contains(event.position).await? {
                continue;
            }
            if blocked.get(&event.subject).is_some_and(|from| event.position.n >= *from) {
                found.left_out += 1;
            } else {
                missing.push(event);
            }
        }
        for event in missing {
            match publisher.repair(std::slice::from_ref(&event)).await {
                Ok(()) => found.repaired += 1,
                Err(error @ BusError::TooLarge { .. }) => {
                    // The relay has parked it, or somebody has given it up.
                    tracing::warn!(lane = %lane, %error, "an event that the bus lacks can't be published");
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    Ok(found)
}

/// What lies beside the lane.
async fn repaired(bus: &dyn Bus, lane: &Lane) -> Result<HashSet<Position>, String> {
    let reader = bus.reader(lane, ReadFrom::Start, Scope::Repaired).await;
    let mut reader = reader.map_err(|error| error.to_string())?;
    let mut repaired = HashSet::new();
    while repaired.len() < REPAIRED {
        let page = reader.next(PAGE, WAIT).await.map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        repaired.extend(page.into_iter().map(|event| event.position));
    }
    Ok(repaired)
}

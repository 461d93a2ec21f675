//! Reading a lane without taking part in it.

use std::time::Duration;

use async_trait::async_trait;
use meshwork_eventstore::Beats;
use tokio::time::Instant;

use super::log::Log;
use super::messages;
use crate::Envelope;
use crate::bus::{BusError, Lane, ReadFrom, Reader, Scope};

/// How long a reader sleeps when no beat wakes it.
const POLL: Duration = Duration::from_secs(1);

/// A lane that is read.
pub(super) struct SqliteReader {
    log: Log,
    lane: Lane,
    scope: Scope,
    beats: Beats,
    /// Behind which message it goes on.
    at: (i64, i64),
    /// Behind which repair it goes on.
    repaired: i64,
}

impl SqliteReader {
    pub(super) async fn open(log: Log, lane: Lane, from: ReadFrom, scope: Scope) -> Result<Self, BusError> {
        let beats = log.beats(&lane);
        let (at, repaired) = match from {
            ReadFrom::Start => ((0, 0), 0),
            ReadFrom::Behind(position) => ((position.n, i64::from(position.index)), 0),
            ReadFrom::Now => {
                let tail = messages::tail(log.db.reader(), &lane).await?;
                let at = tail.map_or((0, 0), |tail| (tail.position.n, i64::from(tail.position.index)));
                (at, messages::last_repaired(log.db.reader(), &lane).await?)
            }
        };
        Ok(Self { log, lane, scope, beats, at, repaired })
    }

    async fn read(&mut self, max: usize) -> Result<Vec<Envelope>, BusError> {
        let mut events = Vec::new();
        if self.scope != Scope::Repaired {
            events = messages::behind(self.log.db.reader(), &self.lane, self.at, max).await?;
            if let Some(last) = events.last() {
                self.at = (last.position.n, i64::from(last.position.index));
            }
        }
        if self.scope != Scope::Published && events.len() < max {
            let repaired =
                messages::repaired(self.log.db.reader(), &self.lane, self.repaired, max - events.len()).await?;
            self.repaired = repaired.last().map_or(self.repaired, |(seq, _)| *seq);
            events.extend(repaired.into_iter().map(|(_, event)| event));
        }
        Ok(events)
    }
}

#[async_trait]
impl Reader for SqliteReader {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Envelope>, BusError> {
        let until = Instant::now() + wait;
        loop {
            let events = self.read(max).await?;
            let left = until.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            self.beats.any(left.min(POLL)).await;
        }
    }
}

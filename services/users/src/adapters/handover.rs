//! What must have happened before accounts change their shard: what their old shard has announced is on the bus, so that nothing
//! of it comes behind what the new one announces.
//!
//! Events that the relay has parked are not waited for: their letters stay with the old shard, whose relay publishes them beside
//! its lane once they can be, and consumers order an account's events by its versions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_chassis::{ServeError, bus};
use meshwork_events::{Bus, ConsumerState, Damaged, DeadLetter, Lane, ReadFrom, Scope, Source};
use meshwork_sql::shards::moving::Handover;
use meshwork_sql::shards::{ShardId, Shards};
use tokio::time::{Instant, sleep};

use super::store::{PostgresStore, SOURCE};
use crate::Config;

/// How long a look waits for what it has found in the outbox: others go on writing, whose events are not waited for.
const WITHIN: Duration = Duration::from_secs(1);
/// How often the bus is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(25);
/// How long the bus may take to tell that there is nothing more beside a lane.
const NOTHING: Duration = Duration::from_millis(100);
/// How many events or aggregates are read at once.
const BATCH: usize = 64;
/// How many events beside a lane are known at most, and how many aggregates of which events were given up.
const KNOWN: usize = 10_000;
/// How many aggregates with parked events are named.
const NAMED: usize = 8;

/// Waits until a shard's outbox is on the bus.
pub struct DrainedOutbox {
    shards: Shards<PostgresStore>,
    bus: Arc<dyn Bus>,
}

/// One partition of a shard's outbox, up to where it is waited for.
struct Part<'a> {
    store: &'a PostgresStore,
    lane: Lane,
    head: i64,
}

/// What has passed its place in the lane without being there.
#[derive(Default)]
struct Passed {
    /// The ids of events that were published beside the lane.
    beside: HashSet<String>,
    /// Up to which version the events of aggregates were given up.
    given_up: HashMap<String, i64>,
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl DrainedOutbox {
    /// For these shards, whose service has this configuration.
    ///
    /// # Errors
    /// When the bus can't be opened.
    pub async fn open(config: &Config, shards: &Shards<PostgresStore>) -> Result<Self, ServeError> {
        let lanes = [(SOURCE, config.shards.count())];
        let bus = bus::open_as("meshwork shards", SOURCE, &config.bus, &config.nats, &lanes).await?;
        Ok(Self::over(shards.clone(), bus))
    }

    /// For these shards, whose events are published to this bus.
    pub fn over(shards: Shards<PostgresStore>, bus: Arc<dyn Bus>) -> Self {
        Self { shards, bus }
    }

    /// Up to where a partition is published.
    async fn published(&self, part: &Part<'_>) -> Result<i64, String> {
        // A publisher that is only opened is in nobody's way, and reads the tail from where it is decided.
        let publisher = self.bus.publisher(&part.lane).await.map_err(sentence)?;
        let tail = publisher.tail().map_or(0, |event| event.position.n);
        // What has aged on the bus has no tail there any more, and is remembered by the relay.
        let noted = part.store.inbox().position(SOURCE, part.lane.partition).await.map_err(sentence)?;
        Ok(noted.map_or(0, |position| position.n).max(tail))
    }

    /// What has passed its place in the lane and isn't parked any more.
    async fn passed(&self, part: &Part<'_>) -> Result<Passed, String> {
        let mut passed = Passed::default();
        let mut reader = self.bus.reader(&part.lane, ReadFrom::Start, Scope::Repaired).await.map_err(sentence)?;
        while passed.beside.len() < KNOWN {
            let events = reader.next(BATCH, NOTHING).await.map_err(sentence)?;
            if events.is_empty() {
                break;
            }
            passed.beside.extend(events.into_iter().map(|event| event.id));
        }
        let (inbox, mut after) = (part.store.inbox(), String::new());
        while passed.given_up.len() < KNOWN {
            let page = inbox.applied(&after, BATCH).await.map_err(sentence)?;
            let Some((last, _)) = page.last() else { break };
            after.clone_from(last);
            passed.given_up.extend(page);
        }
        Ok(passed)
    }

    /// Whether nothing of a partition is still to be published in order.
    async fn is_out(&self, part: &Part<'_>, deadline: Instant) -> Result<bool, String> {
        loop {
            let is_last = Instant::now() >= deadline;
            let published = self.published(part).await?;
            if published >= part.head {
                return Ok(true);
            }
            let passed = if is_last { self.passed(part).await? } else { Passed::default() };
            if part.has_passed(published + 1, &passed).await? {
                return Ok(true);
            }
            if is_last {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
    }
}

impl Part<'_> {
    /// Whether all from `first` on is parked, or has passed otherwise.
    async fn has_passed(&self, first: i64, passed: &Passed) -> Result<bool, String> {
        let (outbox, partition) = (self.store.outbox(), self.lane.partition);
        let mut n = first;
        while n <= self.head {
            let batch = outbox.read(partition, n, BATCH).await?;
            // Nothing that is there is left to be published.
            let Some(seen) = batch.seen else { return Ok(true) };
            for event in batch.events.iter().filter(|event| event.position.n <= self.head) {
                let given_up = passed.given_up.get(&event.subject).copied().unwrap_or_default();
                let is_beside = passed.beside.contains(&event.id);
                if event.version > given_up && !is_beside && !self.is_parked(&event.subject, event.version).await? {
                    return Ok(false);
                }
            }
            for Damaged { subject, n, version, .. } in batch.damaged.iter().filter(|damaged| damaged.n <= self.head) {
                let version = version.unwrap_or(1);
                // Where not even the aggregate can be read, its place names it.
                let place = format!("{subject} at {partition}/{n}");
                if !self.is_parked(subject, version).await? && !self.is_parked(&place, version).await? {
                    return Ok(false);
                }
            }
            n = seen + 1;
        }
        Ok(true)
    }

    /// Whether the relay has parked an event.
    async fn is_parked(&self, subject: &str, version: i64) -> Result<bool, String> {
        let inbox = self.store.inbox();
        let letter = inbox.get(DeadLetter::id_of(inbox.consumer(), subject, version)).await.map_err(sentence)?;
        Ok(letter.is_some())
    }
}

#[async_trait]
impl Handover for DrainedOutbox {
    async fn is_drained(&self, from: ShardId) -> Result<bool, String> {
        let shard = self.shards.shard(from).ok_or_else(|| format!("the shard {from} isn't configured here"))?;
        let outbox = shard.part.outbox();
        // What was written before the fence is below these.
        let mut parts = Vec::new();
        for partition in outbox.partitions() {
            let head = outbox.head(partition).await?.unwrap_or_default();
            parts.push(Part { store: &shard.part, lane: Lane { stream: SOURCE.to_owned(), partition }, head });
        }
        let deadline = Instant::now() + WITHIN;
        for part in parts.iter().filter(|part| part.head > 0) {
            if !self.is_out(part, deadline).await? {
                return Ok(false);
            }
        }
        let parked = shard.part.inbox().aggregates(Some(SOURCE), "", false, NAMED).await.map_err(sentence)?;
        if !parked.is_empty() {
            tracing::warn!(
                shard = shard.name,
                aggregates = parked.join(", "),
                "events are parked by the relay of the shard that pieces are moved from, and stay there: see \
                 `meshwork deadletters list`"
            );
        }
        Ok(true)
    }
}

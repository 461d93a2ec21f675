//! What must have happened before accounts change their shard: what their old shard has announced is on the bus, so that nothing
//! of it comes behind what the new one announces.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_chassis::{ServeError, bus};
use meshwork_events::{Bus, Lane, Source};
use meshwork_sql::shards::moving::Handover;
use meshwork_sql::shards::{ShardId, Shards};
use tokio::time::{Instant, sleep};

use super::store::{PostgresStore, SOURCE};
use crate::Config;

/// How long a look waits for what it has found in the outbox: others go on writing, whose events are not waited for.
const WITHIN: Duration = Duration::from_secs(1);
/// How often the bus is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(25);

/// Waits until a shard's outbox is on the bus.
pub struct DrainedOutbox {
    shards: Shards<PostgresStore>,
    bus: Arc<dyn Bus>,
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

    /// Whether a partition is published up to `head`.
    async fn is_published(&self, partition: u16, head: i64) -> Result<bool, String> {
        // A publisher that is only opened is in nobody's way, and reads the tail from where it is decided.
        let lane = Lane { stream: SOURCE.to_owned(), partition };
        let publisher = self.bus.publisher(&lane).await.map_err(|error| error.to_string())?;
        Ok(publisher.tail().map_or(0, |event| event.position.n) >= head)
    }
}

#[async_trait]
impl Handover for DrainedOutbox {
    async fn is_drained(&self, from: ShardId) -> Result<bool, String> {
        let shard = self.shards.shard(from).ok_or_else(|| format!("the shard {from} isn't configured here"))?;
        let outbox = shard.part.outbox();
        // What was written before the fence is below these.
        let mut heads = Vec::new();
        for partition in outbox.partitions() {
            heads.push((partition, outbox.head(partition).await?.unwrap_or_default()));
        }
        let deadline = Instant::now() + WITHIN;
        for (partition, head) in heads {
            while head > 0 && !self.is_published(partition, head).await? {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                sleep(LOOK).await;
            }
        }
        Ok(true)
    }
}

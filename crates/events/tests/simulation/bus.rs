//! Buses that the relays publish to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use meshwork_events::{BusError, Envelope, EventBus, Position, SqliteBus};
use meshwork_eventstore::{Beats, Pulse};
use tokio::runtime::Handle;

use crate::client::PARTITIONS;

/// What the relays publish to, and what was published of a partition.
#[async_trait]
pub(crate) trait Published: EventBus {
    async fn published(&self, stream: &str, partition: u16) -> Vec<Envelope>;
}

/// A bus in memory, which publishes by the same rule as the shipped ones: only behind the expected tail (NT-2).
pub(crate) struct MemoryBus {
    logs: Mutex<BTreeMap<u16, Vec<Envelope>>>,
    pulse: Pulse,
}

impl MemoryBus {
    pub(crate) fn new() -> Self {
        Self { logs: Mutex::default(), pulse: Pulse::new(PARTITIONS) }
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn tail(&self, _: &str, partition: u16) -> Result<Option<Envelope>, BusError> {
        Ok(self.logs.lock().unwrap().get(&partition).and_then(|log| log.last().cloned()))
    }

    async fn publish(
        &self,
        _: &str,
        partition: u16,
        expected: Option<Position>,
        events: Vec<Envelope>,
    ) -> Result<(), BusError> {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry(partition).or_default();
        if log.last().map(|last| last.position) != expected {
            return Err(BusError::TailMoved);
        }
        log.extend(events);
        Ok(())
    }

    async fn register(&self, _: &str, _: &str) -> Result<(), BusError> {
        Ok(())
    }

    async fn fetch(&self, _: &str, _: &str, _: u16, _: usize) -> Result<Vec<Envelope>, BusError> {
        Ok(Vec::new())
    }

    async fn acknowledge(&self, _: &str, _: &str, _: Position) -> Result<(), BusError> {
        Ok(())
    }

    async fn rewind(&self, _: &str, _: &str, _: Position) -> Result<bool, BusError> {
        Ok(false)
    }

    async fn acknowledged(&self, _: &str, _: &str, _: u16) -> Result<Option<Position>, BusError> {
        Ok(None)
    }

    async fn event_at(&self, _: &str, _: Position) -> Result<Option<Envelope>, BusError> {
        Ok(None)
    }

    fn retention(&self) -> std::time::Duration {
        std::time::Duration::MAX
    }

    async fn parked(&self, _: &str, _: &str, _: u16) -> Result<Vec<(Envelope, String)>, BusError> {
        Ok(Vec::new())
    }

    async fn unpark(&self, _: &str, _: &str, _: Position) -> Result<(), BusError> {
        Ok(())
    }

    fn partitions(&self) -> u16 {
        PARTITIONS
    }

    fn beats(&self, _: &str, partition: u16) -> Beats {
        self.pulse.beats(partition)
    }
}

#[async_trait]
impl Published for MemoryBus {
    async fn published(&self, _: &str, partition: u16) -> Vec<Envelope> {
        self.logs.lock().unwrap().get(&partition).cloned().unwrap_or_default()
    }
}

/// The shipped bus. Its work is done by threads, for which simulated time must wait.
pub(crate) struct Embedded(pub(crate) Arc<SqliteBus>);

/// Who reads what was published.
const AUDITOR: &str = "auditor";

async fn waiting<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await.unwrap()
}

#[async_trait]
impl EventBus for Embedded {
    async fn tail(&self, stream: &str, partition: u16) -> Result<Option<Envelope>, BusError> {
        let (bus, stream) = (self.0.clone(), stream.to_owned());
        waiting(async move { bus.tail(&stream, partition).await }).await
    }

    async fn publish(
        &self,
        stream: &str,
        partition: u16,
        expected: Option<Position>,
        events: Vec<Envelope>,
    ) -> Result<(), BusError> {
        let (bus, stream) = (self.0.clone(), stream.to_owned());
        waiting(async move { bus.publish(&stream, partition, expected, events).await }).await
    }

    async fn register(&self, consumer: &str, stream: &str) -> Result<(), BusError> {
        let (bus, consumer, stream) = (self.0.clone(), consumer.to_owned(), stream.to_owned());
        waiting(async move { bus.register(&consumer, &stream).await }).await
    }

    async fn fetch(
        &self,
        consumer: &str,
        stream: &str,
        partition: u16,
        limit: usize,
    ) -> Result<Vec<Envelope>, BusError> {
        let (bus, consumer, stream) = (self.0.clone(), consumer.to_owned(), stream.to_owned());
        waiting(async move { bus.fetch(&consumer, &stream, partition, limit).await }).await
    }

    async fn acknowledge(&self, _: &str, _: &str, _: Position) -> Result<(), BusError> {
        Ok(())
    }

    async fn rewind(&self, _: &str, _: &str, _: Position) -> Result<bool, BusError> {
        Ok(false)
    }

    async fn acknowledged(&self, _: &str, _: &str, _: u16) -> Result<Option<Position>, BusError> {
        Ok(None)
    }

    async fn event_at(&self, _: &str, _: Position) -> Result<Option<Envelope>, BusError> {
        Ok(None)
    }

    fn retention(&self) -> std::time::Duration {
        std::time::Duration::MAX
    }

    async fn parked(&self, _: &str, _: &str, _: u16) -> Result<Vec<(Envelope, String)>, BusError> {
        Ok(Vec::new())
    }

    async fn unpark(&self, _: &str, _: &str, _: Position) -> Result<(), BusError> {
        Ok(())
    }

    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn beats(&self, stream: &str, partition: u16) -> Beats {
        self.0.beats(stream, partition)
    }
}

#[async_trait]
impl Published for Embedded {
    async fn published(&self, stream: &str, partition: u16) -> Vec<Envelope> {
        self.fetch(AUDITOR, stream, partition, 10_000).await.unwrap()
    }
}

impl Embedded {
    pub(crate) async fn open(folder: &std::path::Path, stream: &str) -> Self {
        let folder = folder.to_owned();
        let bus = waiting(async move { SqliteBus::open(&folder).await.unwrap() }).await;
        let embedded = Self(bus);
        embedded.register(AUDITOR, stream).await.unwrap();
        embedded
    }
}

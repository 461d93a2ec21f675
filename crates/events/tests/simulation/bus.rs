//! Buses that the relays publish to.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::testing::lane;
use meshwork_events::{
    Bus, BusError, Envelope, Lane, Publisher, ReadFrom, Reader, Resume, Scope, SqliteBus, Subscription,
};
use tokio::runtime::Handle;

use crate::client::PARTITIONS;
use crate::server::Cluster;

/// What the relays publish to, and what was published of a partition.
#[async_trait]
pub(crate) trait Published: Bus {
    async fn published(&self, stream: &str, partition: u16) -> Vec<Envelope>;
}

/// A lane in memory: what was published, what was published beside it, and how often something was lost from its middle.
#[derive(Default)]
struct Log {
    events: Vec<Envelope>,
    repaired: Vec<Envelope>,
    losses: u64,
}

/// A broker in memory, which publishes by the same rule as the shipped ones: only behind the publisher's tail (NT-2). Its answers
/// get lost, batches are cut, and it loses what it has stored, at the end and in the middle (NT-4).
#[derive(Clone)]
pub(crate) struct MemoryBus {
    logs: Arc<Mutex<BTreeMap<u16, Log>>>,
    cluster: Arc<Cluster>,
    fenced: bool,
}

impl MemoryBus {
    pub(crate) fn new(cluster: Arc<Cluster>, fenced: bool) -> Self {
        Self { logs: Arc::default(), cluster, fenced }
    }

    fn happens(&self, per_mille: u64) -> bool {
        self.cluster.faults.load(Ordering::Relaxed) && self.cluster.below(1_000) < per_mille
    }

    /// Takes time, in which others get their turn.
    async fn travel(&self) {
        tokio::time::sleep(Duration::from_micros(self.cluster.below(1_500))).await;
    }
}

fn unavailable(problem: &str) -> BusError {
    BusError::Unavailable(problem.to_owned())
}

#[async_trait]
impl Bus for MemoryBus {
    fn lanes(&self, stream: &str) -> Vec<Lane> {
        (0..PARTITIONS).map(|partition| lane(stream, partition)).collect()
    }

    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError> {
        self.travel().await;
        let tail = self.logs.lock().unwrap().entry(lane.partition).or_default().events.last().cloned();
        Ok(Box::new(MemoryPublisher { bus: self.clone(), partition: lane.partition, tail }))
    }

    async fn subscribe(&self, _: &str, _: &Lane, _: Resume) -> Result<Box<dyn Subscription>, BusError> {
        Err(unavailable("nothing is consumed here"))
    }

    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError> {
        let logs = self.logs.lock().unwrap();
        let log = logs.get(&lane.partition);
        let published = log.map(|log| log.events.clone()).unwrap_or_default();
        let repaired = log.map(|log| log.repaired.clone()).unwrap_or_default();
        let events: Vec<_> = match (scope, from) {
            (Scope::Repaired, _) => repaired,
            (_, ReadFrom::Behind(position)) => published.into_iter().filter(|it| it.position > position).collect(),
            _ => published,
        };
        Ok(Box::new(MemoryReader(events.into_iter())))
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(())
    }

    fn retention(&self) -> Duration {
        // What is simulated happened in 1970.
        Duration::from_secs(200 * 365 * 86_400)
    }
}

struct MemoryReader(std::vec::IntoIter<Envelope>);

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self, max: usize, _: Duration) -> Result<Vec<Envelope>, BusError> {
        Ok(self.0.by_ref().take(max).collect())
    }
}

struct MemoryPublisher {
    bus: MemoryBus,
    partition: u16,
    tail: Option<Envelope>,
}

impl MemoryPublisher {
    /// Loses what was stored, at the end or in the middle.
    fn lose(&self, log: &mut Log) {
        let counts = &self.bus.cluster;
        if log.events.len() > 2 && self.bus.happens(15) {
            let left = log.events.len() - 1 - usize::try_from(counts.below(2)).unwrap();
            log.events.truncate(left);
            counts.count(|counts| counts.lost_ends += 1);
        }
        if log.events.len() > 2 && self.bus.happens(15) {
            let at = counts.below(u64::try_from(log.events.len() - 1).unwrap());
            log.events.remove(usize::try_from(at).unwrap());
            log.losses += 1;
            counts.count(|counts| counts.lost_middles += 1);
        }
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    fn tail(&self) -> Option<&Envelope> {
        self.tail.as_ref()
    }

    async fn publish(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        self.bus.travel().await;
        if self.bus.happens(20) {
            return Err(unavailable("the request was lost"));
        }
        let outcome = {
            let mut logs = self.bus.logs.lock().unwrap();
            let log = logs.entry(self.partition).or_default();
            self.lose(log);
            let position = |event: &Envelope| event.position;
            if self.bus.fenced && log.events.last().map(position) != self.tail.as_ref().map(position) {
                return Err(BusError::TailMoved);
            }
            let stored = if self.bus.happens(20) { events.len() / 2 } else { events.len() };
            log.events.extend_from_slice(&events[..stored]);
            if stored < events.len() { Err(unavailable("the batch was cut")) } else { Ok(()) }
        };
        self.bus.travel().await;
        if self.bus.happens(20) {
            self.bus.cluster.count(|counts| counts.lost_acks_of_bus += 1);
            return Err(unavailable("the answer was lost"));
        }
        if outcome.is_ok() && !events.is_empty() {
            self.tail = events.last().cloned();
        }
        outcome
    }

    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        self.bus.travel().await;
        let mut logs = self.bus.logs.lock().unwrap();
        logs.entry(self.partition).or_default().repaired.extend_from_slice(events);
        Ok(())
    }

    async fn losses(&mut self) -> Result<u64, BusError> {
        Ok(self.bus.logs.lock().unwrap().entry(self.partition).or_default().losses)
    }
}

#[async_trait]
impl Published for MemoryBus {
    /// In order of position what was repaired; what was published as it was.
    async fn published(&self, _: &str, partition: u16) -> Vec<Envelope> {
        let logs = self.logs.lock().unwrap();
        let Some(log) = logs.get(&partition) else { return Vec::new() };
        let mut events = log.events.clone();
        let mut repaired = log.repaired.clone();
        // Two relays may repair the same.
        repaired.sort_by_key(|event| event.position);
        repaired.dedup();
        for event in repaired {
            let at = events.iter().position(|other| other.position >= event.position).unwrap_or(events.len());
            if events.get(at) != Some(&event) {
                events.insert(at, event);
            }
        }
        events
    }
}

/// The shipped bus. Its work is done by threads, for which simulated time must wait.
pub(crate) struct Embedded(Arc<SqliteBus>);

async fn waiting<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await.unwrap()
}

#[async_trait]
impl Bus for Embedded {
    fn lanes(&self, stream: &str) -> Vec<Lane> {
        self.0.lanes(stream)
    }

    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError> {
        let (bus, lane) = (self.0.clone(), lane.clone());
        let publisher = waiting(async move { bus.publisher(&lane).await }).await?;
        let tail = publisher.tail().cloned();
        Ok(Box::new(EmbeddedPublisher { publisher: Some(publisher), tail }))
    }

    async fn subscribe(&self, _: &str, _: &Lane, _: Resume) -> Result<Box<dyn Subscription>, BusError> {
        Err(unavailable("nothing is consumed here"))
    }

    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError> {
        let (bus, lane) = (self.0.clone(), lane.clone());
        waiting(async move { bus.reader(&lane, from, scope).await }).await
    }

    async fn ping(&self) -> Result<(), BusError> {
        Ok(())
    }

    fn retention(&self) -> Duration {
        self.0.retention()
    }
}

struct EmbeddedPublisher {
    publisher: Option<Box<dyn Publisher>>,
    tail: Option<Envelope>,
}

/// Has the publisher do something on a thread of its own.
macro_rules! waiting {
    ($this:expr, |$publisher:ident| $work:expr) => {{
        let mut $publisher = $this.publisher.take().unwrap();
        let (publisher, done) = waiting(async move {
            let done = $work.await;
            ($publisher, done)
        })
        .await;
        $this.tail = publisher.tail().cloned();
        $this.publisher = Some(publisher);
        done
    }};
}

#[async_trait]
impl Publisher for EmbeddedPublisher {
    fn tail(&self) -> Option<&Envelope> {
        self.tail.as_ref()
    }

    async fn publish(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        let events = events.to_vec();
        waiting!(self, |publisher| publisher.publish(&events))
    }

    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        let events = events.to_vec();
        waiting!(self, |publisher| publisher.repair(&events))
    }

    async fn losses(&mut self) -> Result<u64, BusError> {
        waiting!(self, |publisher| publisher.losses())
    }
}

#[async_trait]
impl Published for Embedded {
    async fn published(&self, stream: &str, partition: u16) -> Vec<Envelope> {
        let (bus, lane) = (self.0.clone(), lane(stream, partition));
        let read = async move {
            let mut reader = bus.reader(&lane, ReadFrom::Start, Scope::All).await.unwrap();
            // It waits for nothing: simulated time stands still meanwhile.
            reader.next(10_000, Duration::ZERO).await.unwrap()
        };
        waiting(read).await
    }
}

impl Embedded {
    pub(crate) async fn open(folder: &std::path::Path) -> Self {
        let folder = folder.to_owned();
        Self(waiting(async move { SqliteBus::open(&folder).await.unwrap() }).await)
    }
}

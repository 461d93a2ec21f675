//! Planted bugs: what checks the others sees them too.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::testing::lane;
use meshwork_events::{Batch, Bus, BusError, Envelope, Lane, Publisher, ReadFrom, Reader, Resume, Scope, Subscription};
use tokio::time::sleep;

use crate::lanes;
use crate::ledger::Ledger;
use crate::running::{PATIENCE, Running, eventually, times};
use crate::servers::{bus, forgets_ids, shared};
use crate::shop::{Shop, subject_in};

/// A bus, and what of it is broken.
struct Broken {
    bus: Arc<dyn Bus>,
    bug: Bug,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// As shipped.
    None,
    /// Deliveries are acknowledged before their effect.
    AcksEarly,
    /// Publishers know nothing of a tail, and publish behind whatever is there.
    Unfenced,
}

#[async_trait]
impl Bus for Broken {
    fn lanes(&self, stream: &str) -> Vec<Lane> {
        self.bus.lanes(stream)
    }

    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError> {
        if self.bug == Bug::Unfenced {
            return Ok(Box::new(Unfenced { bus: self.bus.clone(), lane: lane.clone() }));
        }
        self.bus.publisher(lane).await
    }

    async fn subscribe(&self, consumer: &str, lane: &Lane, resume: Resume) -> Result<Box<dyn Subscription>, BusError> {
        if self.bug == Bug::AcksEarly {
            return Ok(Box::new(AcksEarly(self.bus.subscribe(consumer, lane, Resume::AsAcknowledged).await?)));
        }
        self.bus.subscribe(consumer, lane, resume).await
    }

    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError> {
        self.bus.reader(lane, from, scope).await
    }

    async fn ping(&self) -> Result<(), BusError> {
        self.bus.ping().await
    }

    fn retention(&self) -> Duration {
        self.bus.retention()
    }
}

struct AcksEarly(Box<dyn Subscription>);

#[async_trait]
impl Subscription for AcksEarly {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch, BusError> {
        let batch = self.0.next(max, wait).await?;
        if let Some(last) = batch.deliveries.last() {
            self.0.done_through(last.place).await?;
        }
        Ok(batch)
    }

    async fn working(&mut self) -> Result<(), BusError> {
        self.0.working().await
    }

    async fn done_through(&mut self, _: u64) -> Result<(), BusError> {
        Ok(())
    }

    async fn later(&mut self, delay: Duration) -> Result<(), BusError> {
        self.0.later(delay).await
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }
}

struct Unfenced {
    bus: Arc<dyn Bus>,
    lane: Lane,
}

#[async_trait]
impl Publisher for Unfenced {
    fn tail(&self) -> Option<&Envelope> {
        None
    }

    async fn publish(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        for event in events {
            // Refused when another one was faster, or while the server knows the id.
            for _ in 0..100 {
                match self.bus.publisher(&self.lane).await?.publish(slice::from_ref(event)).await {
                    Err(BusError::TailMoved) => sleep(Duration::from_millis(20)).await,
                    Err(error) => return Err(error),
                    Ok(()) => break,
                }
            }
        }
        Ok(())
    }

    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        self.bus.publisher(&self.lane).await?.repair(events).await
    }

    async fn losses(&mut self) -> Result<u64, BusError> {
        Ok(0)
    }
}

/// Has events handled by a consumer that is ended again and again, wherever it is, and checks what was applied within a
/// while of its last start.
async fn ended_at_random(stream: &'static str, bug: Bug, within: Duration) -> Result<(), String> {
    let nats = shared();
    // So slow that a batch takes about as long as a consumer lives, though several aggregates are worked at at once.
    let (shop, ledger) = (Shop::new().await, Ledger::slow(Duration::from_millis(10)).await);
    let bus = bus(&nats.url()).await;
    let mut relaying = Running::default();
    relaying.relay(shop.relay(bus.clone(), stream));
    shop.happen_to_all(40).await;
    lanes::have_all(&*bus, stream, &shop).await;
    let consume = || {
        let mut running = Running::default();
        running.consumer(ledger.consumer(Arc::new(Broken { bus: bus.clone(), bug }), stream));
        running
    };
    for _ in 0..times(5, 20) {
        let consuming = consume();
        sleep(Duration::from_millis(fastrand::u64(100..350))).await;
        consuming.abort().await;
        // There is always something to lose.
        shop.happen_to_all(10).await;
    }
    // Whatever lies before these is handled before them.
    let last = (0..PARTITIONS).map(|partition| subject_in(partition, 2)).collect::<Vec<_>>();
    for subject in &last {
        shop.happen(subject).await;
    }
    let consuming = consume();
    for subject in &last {
        ledger.has_applied(subject, 1).await;
    }
    let checked = ledger.checked(&shop.told(), within).await;
    consuming.stop().await;
    relaying.stop().await;
    checked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_6_a_consumer_that_ends_anywhere_loses_and_doubles_nothing() {
    ended_at_random("acks-behind", Bug::None, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_6_a_consumer_that_acknowledges_before_its_effect_is_seen() {
    let broken = ended_at_random("acks-early", Bug::AcksEarly, Duration::from_millis(500)).await.unwrap_err();
    assert!(broken.contains("should have come to"), "{broken}");
}

/// Has one relay publish what another has published.
async fn one_after_the_other(stream: &'static str, bug: Bug) -> Result<(), String> {
    let (nats, shop) = (shared(), Shop::new().await);
    let bus = bus(&nats.url()).await;
    bus.publisher(&lane(stream, 0)).await.unwrap();
    forgets_ids(&nats, stream).await;
    shop.happen_to_all(5).await;
    for _ in 0..2 {
        let relay = shop.relay(Arc::new(Broken { bus: bus.clone(), bug }), stream);
        let published = relay.published();
        let mut running = Running::default();
        running.relay(relay);
        let heads = shop.heads();
        let knows = |(partition, head): (u16, &i64)| published.last(partition) == Some(*head);
        eventually("all events", async || (0..).zip(&heads).all(knows)).await;
        running.stop().await;
    }
    lanes::each_once_in_order(&lanes::read(&*bus, stream, Scope::Published).await, &shop.told())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_2_a_relay_without_a_fence_is_seen() {
    one_after_the_other("fenced", Bug::None).await.unwrap();
    let broken = one_after_the_other("unfenced", Bug::Unfenced).await.unwrap_err();
    assert!(broken.contains("lies behind"), "{broken}");
}

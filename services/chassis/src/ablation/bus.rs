//! An event bus with bugs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_events::{
    Batch, Bus, BusError, Delivery, Envelope, Lane, Publisher, ReadFrom, Reader, Resume, Scope, Subscription,
};

use super::names::is_planted;

/// The consumer of the orders' events that has an inbox.
const INVENTORY: &str = "inventory";
/// The consumer of the inventory's events.
const ORDERS: &str = "orders";

/// A bus with what is planted.
pub(super) struct Planted(pub(super) Arc<dyn Bus>);

#[async_trait]
impl Bus for Planted {
    fn lanes(&self, stream: &str) -> Vec<Lane> {
        self.0.lanes(stream)
    }

    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError> {
        Ok(Box::new(PlantedPublisher(self.0.publisher(lane).await?)))
    }

    async fn subscribe(&self, consumer: &str, lane: &Lane, resume: Resume) -> Result<Box<dyn Subscription>, BusError> {
        let acknowledges_first = consumer == INVENTORY && is_planted("acknowledges_first");
        // Its own database, which knows better, is not asked either.
        let resume = if acknowledges_first { Resume::AsAcknowledged } else { resume };
        let loses_allocations = consumer == ORDERS && is_planted("loses_allocations");
        let inner = self.0.subscribe(consumer, lane, resume).await?;
        Ok(Box::new(PlantedSubscription { inner, acknowledges_first, loses_allocations }))
    }

    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError> {
        self.0.reader(lane, from, scope).await
    }

    async fn missing(&self, streams: &[&str]) -> Result<Vec<String>, BusError> {
        self.0.missing(streams).await
    }

    async fn ping(&self) -> Result<(), BusError> {
        self.0.ping().await
    }

    fn retention(&self) -> Duration {
        self.0.retention()
    }
}

struct PlantedPublisher(Box<dyn Publisher>);

#[async_trait]
impl Publisher for PlantedPublisher {
    fn tail(&self) -> Option<&Envelope> {
        self.0.tail()
    }

    async fn publish(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        let mut published = Vec::with_capacity(events.len());
        for event in events {
            if is_planted("relay_skips") && event.event_type == "order_allocated" {
                continue;
            }
            published.push(event.clone());
            if is_planted("publishes_twice") && event.event_type == "order_allocated" {
                let mut again = event.clone();
                again.position.index += 1;
                published.push(again);
            }
        }
        self.0.publish(&published).await
    }

    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError> {
        self.0.repair(events).await
    }

    async fn losses(&mut self) -> Result<u64, BusError> {
        self.0.losses().await
    }
}

struct PlantedSubscription {
    inner: Box<dyn Subscription>,
    acknowledges_first: bool,
    loses_allocations: bool,
}

/// The first allocation of an order's pieces is as if it were of a kind that nobody knows. When it is told again it has
/// another version.
fn forget_allocation(delivery: &mut Delivery) {
    if delivery.event.event_type == "stock_allocated" && delivery.event.version == 2 {
        "forgotten".clone_into(&mut delivery.event.event_type);
    }
}

#[async_trait]
impl Subscription for PlantedSubscription {
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch, BusError> {
        let mut batch = self.inner.next(max, wait).await?;
        if self.loses_allocations {
            batch.deliveries.iter_mut().for_each(forget_allocation);
        }
        if let Some(last) = batch.deliveries.last()
            && self.acknowledges_first
        {
            self.inner.done_through(last.place).await?;
        }
        Ok(batch)
    }

    async fn working(&mut self) -> Result<(), BusError> {
        self.inner.working().await
    }

    async fn done_through(&mut self, place: u64) -> Result<(), BusError> {
        if self.acknowledges_first { Ok(()) } else { self.inner.done_through(place).await }
    }

    async fn later(&mut self, delay: Duration) -> Result<(), BusError> {
        self.inner.later(delay).await
    }

    fn patience(&self) -> Duration {
        self.inner.patience()
    }
}

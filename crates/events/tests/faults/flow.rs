//! Events on their way from a shop to a ledger.

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::Bus;

use crate::lanes;
use crate::ledger::Ledger;
use crate::running::{Running, eventually};
use crate::shop::{Shop, Writing};

/// A shop that tells of events, its relay and a consumer, all at work.
pub(crate) struct Flow {
    stream: &'static str,
    shop: Arc<Shop>,
    ledger: Arc<Ledger>,
    running: Running,
    writing: Writing,
}

impl Flow {
    /// Has events flow: there is one after each `pause`. The relay and the consumer have buses of their own.
    pub(crate) async fn start(stream: &'static str, pause: Duration, buses: [Arc<dyn Bus>; 2]) -> Self {
        let (shop, ledger) = (Shop::new().await, Ledger::new().await);
        let [relays, consumes] = buses;
        let mut running = Running::default();
        running.relay(shop.relay(relays, stream));
        running.consumer(ledger.consumer_of(&shop, consumes, stream));
        let writing = Writing::start(&shop, pause);
        let flow = Self { stream, shop, ledger, running, writing };
        flow.goes_on(10).await;
        flow
    }

    /// Waits until so many more events were applied.
    pub(crate) async fn goes_on(&self, events: i64) {
        let before = self.ledger.count().await;
        eventually("more events", async || self.ledger.count().await >= before + events).await;
    }

    /// Sees that all events came through: on their lanes and in the ledger is each once, in order.
    pub(crate) async fn ends_well(self, bus: &dyn Bus) {
        self.writing.stop().await;
        let told = self.shop.told();
        self.ledger.has_applied_all(&told).await;
        lanes::hold_each_once_in_order(bus, self.stream, &told).await;
        self.running.stop().await;
    }
}

//! A stand-in for the inventory: it speaks on the bus, in the stream `products`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use meshwork_api::meshwork::events::v1 as events;
use meshwork_events::inbox::sqlite::Inbox;
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::testing::{lane, publish, tail};
use meshwork_events::{ConsumerState as _, Context, Envelope, Position, SqliteBus};
use meshwork_eventstore::partition_of;
use meshwork_orders::adapters::stock_events::CONSUMER;
use meshwork_sql::Sqlite;
use prost::Message;
use time::OffsetDateTime;

use crate::shop::eventually;

const STREAM: &str = "products";

/// The inventory.
pub struct Inventory {
    bus: Arc<SqliteBus>,
    /// The file in which the orders service notes what it has heard.
    view: PathBuf,
    versions: Mutex<HashMap<String, i64>>,
}

impl Inventory {
    pub fn on(bus: Arc<SqliteBus>, view: PathBuf) -> Self {
        Self { bus, view, versions: Mutex::default() }
    }

    pub async fn reserves(&self, order: &str) -> Envelope {
        let reserved = events::StockReserved { order: order.to_owned(), ..events::StockReserved::default() };
        self.says(order, "stock_reserved", reserved.encode_to_vec()).await
    }

    pub async fn rejects(&self, order: &str) -> Envelope {
        let shortage = events::Shortage { product: "products/tea".to_owned(), requested: 2, available: 1 };
        let rejected = events::StockRejected { order: order.to_owned(), shortages: vec![shortage] };
        self.says(order, "stock_rejected", rejected.encode_to_vec()).await
    }

    pub async fn allocates(&self, order: &str) -> Envelope {
        let allocated = events::StockAllocated { order: order.to_owned() };
        self.says(order, "stock_allocated", allocated.encode_to_vec()).await
    }

    pub async fn lets_expire(&self, order: &str) -> Envelope {
        let expired = events::ReservationExpired { order: order.to_owned() };
        self.says(order, "reservation_expired", expired.encode_to_vec()).await
    }

    pub async fn fails_to_allocate(&self, order: &str) -> Envelope {
        let failed = events::AllocationFailed { order: order.to_owned(), reason: "the shelf is empty".to_owned() };
        self.says(order, "allocation_failed", failed.encode_to_vec()).await
    }

    /// Publishes the reservation's next event.
    pub async fn says(&self, order: &str, event_type: &str, data: Vec<u8>) -> Envelope {
        let subject = order.replacen("orders/", "reservations/", 1);
        let version = {
            let mut versions = self.versions.lock().unwrap();
            let version = versions.entry(subject.clone()).or_default();
            *version += 1;
            *version
        };
        let event = Envelope {
            id: Envelope::id_of(&subject, version),
            source: STREAM.to_owned(),
            event_type: event_type.to_owned(),
            schema_version: 1,
            version,
            position: Position { partition: partition_of(&subject, PARTITIONS), n: 0, index: 0 },
            time: OffsetDateTime::now_utc(),
            context: Context::default(),
            data: data.into(),
            subject,
        };
        self.again(&event).await;
        event
    }

    /// Publishes an event (once more, if it was published before).
    pub async fn again(&self, event: &Envelope) {
        let lane = lane(STREAM, event.position.partition);
        let n = tail(self.bus.as_ref(), &lane).await.map_or(0, |tail| tail.position.n) + 1;
        let event = Envelope { position: Position { n, ..event.position }, ..event.clone() };
        publish(self.bus.as_ref(), &lane, vec![event]).await;
    }

    /// Waits until the orders service has taken in all that was said.
    pub async fn was_heard(&self) {
        let inbox = Inbox::new(Sqlite::open(&self.view, &[]).await.unwrap(), CONSUMER);
        eventually("the orders service to hear the inventory", async || {
            for partition in 0..PARTITIONS {
                let Some(last) = tail(self.bus.as_ref(), &lane(STREAM, partition)).await else { continue };
                // The service may still be making its tables.
                let heard = inbox.position(STREAM, partition).await.ok().flatten();
                if heard < Some(last.position) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

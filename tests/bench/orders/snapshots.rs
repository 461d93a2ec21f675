//! An aggregate of 500 events, with and without a snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use meshwork_eventstore::mongodb::{MongoOptions, MongoServer};
use meshwork_eventstore::{EventStore, SnapshotStore, SqliteEventStore};
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::domain::OrderEvent;
use meshwork_orders::ports::OrderStore;
use meshwork_orders::testing::{append, created, order_name, second};
use meshwork_testkit::Mongo;

use crate::{Values, millis};

/// How often it is loaded.
const LOADS: usize = 100;

pub(crate) async fn measure(mongo: &Mongo, values: &mut Values) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 16).await.unwrap());
    load("sqlite", sqlite.clone(), sqlite, values).await;
    let options = MongoOptions { database: mongo.database(), ..MongoOptions::new(mongo.uri()) };
    let server = Arc::new(MongoServer::open(&options).await.unwrap());
    mongo.index(&options.database);
    load("server", server.clone(), server, values).await;
}

async fn load(name: &str, events: Arc<dyn EventStore>, snapshots: Arc<dyn SnapshotStore>, values: &mut Values) {
    let plain = EventOrderStore::new(events.clone());
    append(&plain, "long", "0", &[created("anna")], second(1)).await.unwrap();
    for attempt in 1..500 {
        let asked = OrderEvent::ReservationRequested { attempt, confirmed: false };
        append(&plain, "long", &attempt.to_string(), &[asked], second(1)).await.unwrap();
    }
    let order = order_name("long");
    // As who remembers nothing of it.
    let time = async |open: &dyn Fn() -> EventOrderStore| {
        let mut each: Histogram<u64> = Histogram::new(3).unwrap();
        for _ in 0..LOADS {
            let store = open();
            let called = Instant::now();
            assert_eq!(store.load(&order).await.unwrap().unwrap().version, 500);
            each.record(u64::try_from(called.elapsed().as_micros()).unwrap()).unwrap();
        }
        each
    };
    values.insert(
        format!("aggregate_of_500_ms_{name}_plain"),
        millis(&time(&|| EventOrderStore::new(events.clone())).await, 0.5),
    );
    let open = || EventOrderStore::new(events.clone()).with_snapshots(snapshots.clone());
    open().load(&order).await.unwrap();
    // The snapshot is kept while the caller goes on.
    tokio::time::sleep(Duration::from_millis(500)).await;
    values.insert(format!("aggregate_of_500_ms_{name}_snapshot"), millis(&time(&open).await, 0.5));
}

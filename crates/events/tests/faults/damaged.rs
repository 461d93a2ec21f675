//! A commit that can't be read stops its aggregate only, is told, and goes out when it is repaired (E2), on both buses.

use std::sync::Arc;

use meshwork_events::inbox::sqlite::{self as inbox, Inbox};
use meshwork_events::{Bus, ConsumerState as _, Redriven, Redriver, Relay, Scope, SqliteBus};
use meshwork_sql::Sqlite;

use crate::lanes;
use crate::ledger::Ledger;
use crate::running::{Running, eventually};
use crate::servers::{bus, shared};
use crate::shop::subject_in;
use crate::stores::Orders;

async fn a_damaged_commit(bus: Arc<dyn Bus>, stream: &'static str) {
    let (orders, ledger, folder) = (Orders::new().await, Ledger::new().await, tempfile::tempdir().unwrap());
    let db = Sqlite::open(&folder.path().join("relay.db"), &inbox::COMPONENTS).await.unwrap();
    let parked = Inbox::new(db, "relay");
    let relay = || -> (Running, Redriver) {
        let relay = Relay::new(orders.source(), bus.clone(), stream).parking(Arc::new(parked.clone()));
        let (mut running, redriver) = (Running::default(), relay.redriver().unwrap());
        running.relay(relay);
        (running, redriver)
    };
    let letters = async || parked.summary().await.unwrap().letters;
    // Of one partition.
    let [bad, good] = [0, 1].map(|k| subject_in(1, k));
    for version in 1..=3 {
        orders.append("by", &bad, version).await;
        orders.append("by", &good, version).await;
    }
    orders.damage(&bad, 2, true).await;
    let mut consuming = Running::default();
    consuming.consumer(ledger.consumer(bus.clone(), stream));

    let (relaying, _) = relay();
    ledger.has_applied(&good, 3).await;
    eventually("the letters", async || letters().await == 2).await;
    assert_eq!(ledger.of(&bad).await, [1]);
    let letter = parked.first_of(&bad).await.unwrap().unwrap();
    assert_eq!(letter.event.version, 2);
    assert!(letter.reason.contains("can't be read"), "{}", letter.reason);
    relaying.stop().await;

    // The next process tries it in vain, and goes on with the others.
    let (relaying, redriver) = relay();
    orders.append("by", &bad, 4).await;
    orders.append("by", &good, 4).await;
    ledger.has_applied(&good, 4).await;
    eventually("the next letter", async || letters().await == 3).await;
    let Redriven { handled, left } = redriver.redrive(&bad).await.unwrap();
    assert_eq!((handled, left.unwrap().event.version), (0, 2));
    assert_eq!(ledger.of(&bad).await, [1]);

    orders.damage(&bad, 2, false).await;
    assert_eq!(redriver.redrive(&bad).await.unwrap(), Redriven { handled: 3, left: None });
    ledger.has_applied(&bad, 4).await;
    assert_eq!(letters().await, 0);
    // From now on it is as the others are.
    orders.append("by", &bad, 5).await;
    orders.append("by", &good, 5).await;
    ledger.has_applied_all(&[(bad.clone(), 5), (good, 5)]).await;
    relaying.stop().await;
    consuming.stop().await;
    let of_bad = async |scope| {
        let events = lanes::read(bus.as_ref(), stream, scope).await;
        events.into_iter().filter(|event| event.subject == bad).map(|event| event.version).collect::<Vec<_>>()
    };
    assert_eq!(of_bad(Scope::Published).await, [1, 5]);
    assert_eq!(of_bad(Scope::Repaired).await, [2, 3, 4]);
    assert_eq!(letters().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_damaged_commit_stops_its_aggregate_until_it_is_repaired_on_jetstream() {
    let nats = shared();
    a_damaged_commit(bus(&nats.url()).await, "damaged").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_damaged_commit_stops_its_aggregate_until_it_is_repaired_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    a_damaged_commit(SqliteBus::open(folder.path()).await.unwrap(), "damaged").await;
}

/// It was published before: the relay that starts there has nothing to say against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_commit_that_is_damaged_after_it_was_published_stops_nothing() {
    const STREAM: &str = "damaged-later";
    let folder = tempfile::tempdir().unwrap();
    let bus: Arc<dyn Bus> = SqliteBus::open(folder.path()).await.unwrap();
    let (orders, [bad, good]) = (Orders::new().await, [0, 1].map(|k| subject_in(1, k)));
    let published = async |count: usize| {
        eventually("what was made", async || lanes::read(bus.as_ref(), STREAM, Scope::Published).await.len() == count)
            .await;
    };
    orders.append("by", &bad, 1).await;
    for round in 0..2 {
        let mut relaying = Running::default();
        relaying.relay(Relay::new(orders.source(), bus.clone(), STREAM));
        published(1 + round).await;
        relaying.stop().await;
        if round == 0 {
            orders.damage(&bad, 1, true).await;
            orders.append("by", &good, 1).await;
        }
    }
}

//! Sources that were restored from an older copy, over JetStream (NT-4, E1).

use meshwork_events::{Relay, Scope};

use crate::ledger::Ledger;
use crate::running::{Running, eventually};
use crate::servers::{bus, shared};
use crate::shop::{Shop, subject_in};
use crate::stores::Orders;
use crate::{alarms, lanes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_an_outbox_that_was_set_back_goes_on_behind_the_bus() {
    const STREAM: &str = "set-back";
    let nats = shared();
    let (bus, shop, ledger) = (bus(&nats.url()).await, Shop::new().await, Ledger::new().await);
    let relay = |shop: &Shop| {
        let mut running = Running::default();
        running.relay(shop.relay(bus.clone(), STREAM));
        running
    };
    let mut consuming = Running::default();
    consuming.consumer(ledger.consumer(bus.clone(), STREAM));
    // Of one partition.
    let [old, unrelayed, new] = [0, 1, 2].map(|k| subject_in(1, k));
    let relaying = relay(&shop);
    for _ in 0..3 {
        shop.happen(&old).await;
    }
    ledger.has_applied(&old, 3).await;
    let copy = shop.copy().await;
    for _ in 0..3 {
        shop.happen(&old).await;
    }
    ledger.has_applied(&old, 6).await;
    relaying.stop().await;

    copy.happen(&unrelayed).await;
    // Over restarts of the relay: it does not go back each time.
    for version in 1..=2 {
        let relaying = relay(&copy);
        copy.happen(&new).await;
        ledger.has_applied(&new, version).await;
        relaying.stop().await;
        assert_eq!(alarms::said(STREAM, "relay_diverged"), 1);
    }
    let told = [(old, 6), (unrelayed, 1), (new, 2)];
    ledger.has_applied_all(&told).await;
    consuming.stop().await;
    lanes::hold_each_once_in_order(&*bus, STREAM, &told).await;
    assert_eq!(alarms::said(STREAM, "relay_"), 1);
}

/// The positions of an event store are the truth of others too: it can't go on behind what it doesn't know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_an_event_store_that_was_set_back_stops_its_partition_and_says_so() {
    const STREAM: &str = "diverged";
    let nats = shared();
    let (bus, orders) = (bus(&nats.url()).await, Orders::new().await);
    let relay = |orders: &Orders| {
        let mut running = Running::default();
        running.relay(Relay::new(orders.source(), bus.clone(), STREAM));
        running
    };
    let [stops, other] = [0, 1].map(|partition| subject_in(partition, 0));
    let all = async || {
        let events = lanes::read(&*bus, STREAM, Scope::All).await;
        events.into_iter().map(|event| (event.subject, event.version, event.data)).collect::<Vec<_>>()
    };
    // Who only reads declares no stream.
    lanes::tails(&*bus, STREAM).await.unwrap();

    let relaying = relay(&orders);
    for version in 1..=3 {
        orders.append("first", &stops, version).await;
    }
    let copy = orders.copy().await;
    for version in 4..=5 {
        orders.append("first", &stops, version).await;
    }
    eventually("the events of the store", async || all().await.len() == 5).await;
    relaying.stop().await;
    let before = all().await;

    // It grows past the place where it was.
    for version in 4..=7 {
        copy.append("second", &stops, version).await;
    }
    let relaying = relay(&copy);
    copy.append("second", &other, 1).await;
    eventually("the other partition's event", async || all().await.len() > 5).await;
    eventually("the alarm", async || alarms::said(STREAM, "relay_diverged") > 0).await;
    relaying.stop().await;
    let after = all().await;
    assert_eq!((after.len(), &after[..5]), (6, &before[..]));
    assert_eq!(alarms::said(STREAM, "relay_diverged"), 1);
}

//! Relays that are fenced (NT-1, NT-2), and whose broker is absent or hears nothing (NT-3).

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::Bus as _;
use meshwork_events::testing::lane;
use meshwork_testkit::Nats;
use tokio::time::sleep;

use crate::flow::Flow;
use crate::ledger::Ledger;
use crate::running::{Running, times};
use crate::servers::{admin, at, bus, forgets_ids, shared};
use crate::shop::{Shop, Writing};
use crate::{alarms, lanes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_1_nt_2_two_relays_under_load_publish_each_event_once_and_in_order() {
    const STREAM: &str = "two-relays";
    let (nats, shop) = (shared(), Shop::new().await);
    let buses = [bus(&nats.url()).await, bus(&nats.url()).await];
    for bus in &buses {
        bus.publisher(&lane(STREAM, 0)).await.unwrap();
    }
    forgets_ids(&nats, STREAM).await;
    let start = |which: usize| {
        let mut running = Running::default();
        running.relay(shop.relay(buses[which].clone(), STREAM));
        running
    };
    // What is there at first goes in batches, and what comes then one by one.
    shop.happen_to_all(30).await;
    let stays = start(0);
    let writing = Writing::start(&shop, Duration::from_millis(1));
    for _ in 0..times(8, 100) {
        let killed = start(1);
        sleep(Duration::from_millis(fastrand::u64(50..400))).await;
        killed.abort().await;
    }
    let other = start(1);
    sleep(Duration::from_millis(500)).await;
    writing.stop().await;
    lanes::have_all(&*buses[0], STREAM, &shop).await;
    stays.stop().await;
    other.stop().await;
    lanes::hold_each_once_in_order(&*buses[0], STREAM, &shop.told()).await;
    assert_eq!(alarms::said(STREAM, "relay_"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_3_a_broker_that_is_absent_at_the_start_loses_nothing() {
    const STREAM: &str = "absent";
    let nats = Arc::new(Nats::start());
    nats.kill();
    let (bus, shop, ledger) = (bus(&nats.url()).await, Shop::new().await, Ledger::new().await);
    let mut running = Running::default();
    running.relay(shop.relay(bus.clone(), STREAM));
    running.consumer(ledger.consumer_of(&shop, bus.clone(), STREAM));
    shop.happen_to_all(5).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(ledger.count().await, 0);
    at(&nats, Nats::restart).await;
    shop.happen_to_all(2).await;
    ledger.has_applied_all(&shop.told()).await;
    lanes::hold_each_once_in_order(&*bus, STREAM, &shop.told()).await;
    running.stop().await;
    assert_eq!(alarms::said(STREAM, "relay_"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_3_when_nobody_hears_what_is_published_it_is_published_again() {
    const STREAM: &str = "unheard";
    let nats = shared();
    let bus = bus(&nats.url()).await;
    let flow = Flow::start(STREAM, Duration::from_millis(5), [bus.clone(), bus.clone()]).await;
    for _ in 0..times(1, 10) {
        flow.goes_on(50).await;
        // Whoever publishes now is told that there are no responders.
        admin(&nats, "STREAM.DELETE.UNHEARD".to_owned(), String::new()).await;
        flow.goes_on(50).await;
    }
    flow.ends_well(&*bus).await;
    assert!(alarms::said(STREAM, "relay_refill") > 0);
}

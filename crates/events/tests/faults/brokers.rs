//! Brokers that lose what they hold (NT-4), end, or hang, while events flow.

use std::sync::Arc;
use std::time::Duration;

use meshwork_testkit::Nats;
use tokio::time::sleep;

use crate::alarms;
use crate::flow::Flow;
use crate::lanes;
use crate::running::{Running, times};
use crate::servers::{at, bus};
use crate::shop::{Shop, subject_in};

/// The pause between events: some 50 of them in a second.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_a_broker_whose_store_is_deleted_is_filled_again() {
    const STREAM: &str = "deleted";
    let nats = Arc::new(Nats::start());
    let bus = bus(&nats.url()).await;
    let flow = Flow::start(STREAM, PAUSE, [bus.clone(), bus.clone()]).await;
    for _ in 0..times(1, 10) {
        flow.goes_on(50).await;
        let lost = |nats: &Nats| {
            nats.kill();
            nats.delete_store();
            nats.restart();
        };
        at(&nats, lost).await;
        flow.goes_on(50).await;
    }
    flow.ends_well(&*bus).await;
    assert!(alarms::said(STREAM, "relay_refill") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_a_broker_that_is_put_back_to_an_older_copy_is_refilled_and_the_relay_says_so() {
    const STREAM: &str = "put-back";
    let nats = Arc::new(Nats::start());
    let bus = bus(&nats.url()).await;
    let flow = Flow::start(STREAM, PAUSE, [bus.clone(), bus.clone()]).await;
    for round in 1..=times(1, 10) {
        flow.goes_on(50).await;
        let copied = |nats: &Nats| {
            nats.stop();
            let copy = nats.copy_store();
            nats.restart();
            copy
        };
        let copy = at(&nats, copied).await;
        // Of each partition something is lost, and more than the relay that is second has not met yet.
        flow.goes_on(200).await;
        let put_back = move |nats: &Nats| {
            nats.kill();
            nats.restore(&copy);
            nats.restart();
        };
        at(&nats, put_back).await;
        flow.goes_on(50).await;
        assert!(alarms::said(STREAM, "relay_refill") >= round);
    }
    flow.ends_well(&*bus).await;
}

async fn killed_again_and_again() {
    let nats = Arc::new(Nats::start());
    let bus = bus(&nats.url()).await;
    let flow = Flow::start("killed", PAUSE, [bus.clone(), bus.clone()]).await;
    for _ in 0..times(2, 30) {
        sleep(Duration::from_millis(fastrand::u64(300..1_000))).await;
        at(&nats, Nats::kill).await;
        sleep(Duration::from_millis(300)).await;
        at(&nats, Nats::restart).await;
        flow.goes_on(50).await;
    }
    flow.ends_well(&*bus).await;
}

async fn frozen_for_seconds() {
    let nats = Arc::new(Nats::start());
    let bus = bus(&nats.url()).await;
    let flow = Flow::start("frozen", PAUSE, [bus.clone(), bus.clone()]).await;
    for _ in 0..times(1, 10) {
        sleep(Duration::from_secs(1)).await;
        at(&nats, Nats::freeze).await;
        sleep(Duration::from_secs(5)).await;
        at(&nats, Nats::thaw).await;
        flow.goes_on(50).await;
    }
    flow.ends_well(&*bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_2_nt_6_a_broker_that_is_killed_or_hangs_loses_and_doubles_nothing() {
    // At the same time, since both mostly wait.
    futures_util::future::join(killed_again_and_again(), frozen_for_seconds()).await;
}

/// The lanes that nothing is published to are filled again too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_a_lane_that_is_idle_is_filled_again() {
    const STREAM: &str = "idle";
    let nats = Arc::new(Nats::start());
    let (bus, shop) = (bus(&nats.url()).await, Shop::new().await);
    let mut running = Running::default();
    running.relay(shop.relay(bus.clone(), STREAM));
    shop.happen(&subject_in(1, 0)).await;
    lanes::have_all(&*bus, STREAM, &shop).await;
    let emptied = |nats: &Nats| {
        nats.kill();
        nats.delete_store();
        nats.restart();
    };
    at(&nats, emptied).await;
    // Another lane finds out first, and has the stream declared again.
    shop.happen(&subject_in(2, 0)).await;
    lanes::have_all(&*bus, STREAM, &shop).await;
    running.stop().await;
    lanes::hold_each_once_in_order(&*bus, STREAM, &shop.told()).await;
}

//! Events that have aged on the bus are not taken for lost (NT-4).

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use meshwork_events::Bus;
use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::ledger::Ledger;
use crate::running::{PATIENCE, Running, eventually};
use crate::servers::{admin, options, shared};
use crate::shop::Shop;
use crate::{alarms, lanes};

const SUBJECT: &str = "things/one";

/// A relay as a new process has it, which notes in the ledger's database how far it has come.
fn relay(shop: &Shop, ledger: &Ledger, bus: &Arc<dyn Bus>, stream: &'static str) -> Running {
    let mut running = Running::default();
    running.relay(shop.relay(bus.clone(), stream).checkpoint(Arc::new(ledger.state.clone())));
    running
}

/// The ids of what is published: so many events, and then none for a while.
async fn published(messages: &mut Subscriber, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let patience = |came: usize| if came < count { PATIENCE } else { Duration::from_secs(1) };
    while let Ok(message) = timeout(patience(ids.len()), messages.next()).await {
        let headers = message.unwrap().headers.unwrap();
        ids.push(headers.get("ce-id").unwrap().as_str().to_owned());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_what_has_aged_is_not_published_again() {
    const STREAM: &str = "aged";
    let nats = shared();
    let options = JetStreamOptions { retention: Duration::from_secs(2), ..options(&nats.url()) };
    let bus: Arc<dyn Bus> = JetStreamBus::connect(options).await.unwrap();
    let (shop, ledger) = (Shop::new().await, Ledger::new().await);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut messages = client.subscribe("aged.v1.>").await.unwrap();
    client.flush().await.unwrap();

    let running = relay(&shop, &ledger, &bus, STREAM);
    for _ in 0..4 {
        shop.happen(SUBJECT).await;
    }
    assert_eq!(published(&mut messages, 4).await, ["things/one:1", "things/one:2", "things/one:3", "things/one:4"]);
    running.stop().await;
    let nothing = |tails: Vec<i64>| tails.iter().all(|tail| *tail == 0);
    eventually("their end", async || lanes::tails(bus.as_ref(), STREAM).await.is_ok_and(nothing)).await;

    let running = relay(&shop, &ledger, &bus, STREAM);
    shop.happen(SUBJECT).await;
    assert_eq!(published(&mut messages, 1).await, ["things/one:5"]);
    running.stop().await;
    assert_eq!(alarms::said(STREAM, "relay_"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_of_what_was_lost_only_what_is_young_is_published_again() {
    const STREAM: &str = "young";
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let nats = shared();
    let options = JetStreamOptions { retention: 8 * HOUR, ..options(&nats.url()) };
    let bus: Arc<dyn Bus> = JetStreamBus::connect(options).await.unwrap();
    let (shop, ledger) = (Shop::new().await, Ledger::new().await);
    let client = async_nats::connect(nats.url()).await.unwrap();

    let relaying = relay(&shop, &ledger, &bus, STREAM);
    let now = OffsetDateTime::now_utc();
    for minutes in [460, 450, 430, 410, 10, 0] {
        shop.happen_at(SUBJECT, now - time::Duration::minutes(minutes)).await;
    }
    lanes::have_all(bus.as_ref(), STREAM, &shop).await;
    relaying.stop().await;
    admin(&nats, "STREAM.DELETE.YOUNG".to_owned(), String::new()).await;
    let mut messages = client.subscribe("young.v1.>").await.unwrap();
    client.flush().await.unwrap();

    let relaying = relay(&shop, &ledger, &bus, STREAM);
    // What would age within the hour is left out.
    assert_eq!(published(&mut messages, 3).await, ["things/one:4", "things/one:5", "things/one:6"]);
    shop.happen(SUBJECT).await;
    assert_eq!(published(&mut messages, 1).await, ["things/one:7"]);
    relaying.stop().await;
    assert_eq!((alarms::said(STREAM, "relay_refill"), alarms::said(STREAM, "relay_")), (1, 1));
}

//! Events that a broker has lost from the middle of a lane (NT-4).

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use meshwork_events::{Envelope, Scope};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::ledger::Ledger;
use crate::running::{Running, eventually};
use crate::servers::{admin, bus, shared};
use crate::shop::{Shop, subject_in};
use crate::{alarms, lanes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_4_what_is_missing_in_the_middle_comes_beside_the_lane() {
    const STREAM: &str = "holed";
    let nats = shared();
    let (bus, shop, ledger) = (bus(&nats.url()).await, Shop::new().await, Ledger::new().await);
    let relay = || {
        let mut running = Running::default();
        running.relay(shop.relay(bus.clone(), STREAM));
        running
    };
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut messages = client.subscribe("holed.v1.>").await.unwrap();
    client.flush().await.unwrap();

    // Of one partition, and each in a publication of its own.
    let [short, long] = [0, 1].map(|k| subject_in(1, k));
    let relaying = relay();
    for subject in [&short, &short, &long, &long, &long, &long] {
        shop.happen(subject).await;
    }
    let mut published = Vec::new();
    while published.len() < 6 {
        published.push(timeout(Duration::from_secs(30), messages.next()).await.unwrap().unwrap());
    }
    lanes::have_all(&*bus, STREAM, &shop).await;
    relaying.stop().await;

    // What a damaged disk does, an administrator may do only where we have not forbidden it: in a stream like ours.
    let mut config = admin(&nats, "STREAM.INFO.HOLED".to_owned(), String::new()).await["config"].take();
    for key in ["deny_delete", "deny_purge", "metadata"] {
        config.as_object_mut().unwrap().remove(key);
    }
    admin(&nats, "STREAM.DELETE.HOLED".to_owned(), String::new()).await;
    admin(&nats, "STREAM.CREATE.HOLED".to_owned(), config.to_string()).await;
    for message in published {
        let mut headers = HeaderMap::new();
        for (name, values) in message.headers.unwrap().iter() {
            if !AsRef::<str>::as_ref(name).starts_with("Nats-") {
                headers.insert(name.clone(), values[0].clone());
            }
        }
        let stored = client.request_with_headers(message.subject, headers, message.payload).await.unwrap();
        let stored: Value = serde_json::from_slice(&stored.payload).unwrap();
        assert!(stored["error"].is_null(), "{stored}");
    }
    // The last of the one aggregate, and one in the middle of the other.
    for seq in [2, 4] {
        admin(&nats, "STREAM.MSG.DELETE.HOLED".to_owned(), json!({ "seq": seq }).to_string()).await;
    }

    // A consumer can ask for what it misses, and does not know that it misses the end.
    let mut consuming = Running::default();
    consuming.consumer(ledger.consumer_of(&shop, bus.clone(), STREAM));
    ledger.has_applied(&long, 4).await;
    assert_eq!(ledger.of(&short).await, [1]);
    assert_eq!(alarms::said(STREAM, "relay_"), 0);

    // Over restarts: what is repaired is not missing.
    for _ in 0..2 {
        let relaying = relay();
        eventually("what is missing", async || ledger.of(&short).await.len() >= 2).await;
        shop.happen(&short).await;
        shop.happen(&long).await;
        lanes::have_all(&*bus, STREAM, &shop).await;
        relaying.stop().await;
        ledger.has_applied_all(&shop.told()).await;
        assert_eq!(alarms::said(STREAM, "relay_repair"), 1);
    }
    let seen =
        |events: Vec<Envelope>| -> Vec<_> { events.into_iter().map(|event| (event.subject, event.version)).collect() };
    let repaired = seen(lanes::read(&*bus, STREAM, Scope::Repaired).await);
    assert_eq!(repaired, [(short.clone(), 2), (long.clone(), 2)]);
    let beside = seen(lanes::read(&*bus, STREAM, Scope::Published).await);
    assert!(repaired.iter().all(|event| !beside.contains(event)), "{beside:?}");
    consuming.stop().await;
    assert_eq!(alarms::said(STREAM, "relay_"), 1);
}

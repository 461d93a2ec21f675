//! Declaring streams, and connecting.

use std::time::{Duration, Instant};

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_events::{Bus, BusError, Lane, ReadFrom, Resume, Scope};
use meshwork_testkit::Nats;
use serde_json::{Value, json};

use crate::common::{SECOND, admin, events, eventually, lane, numbers, publish, read, take};
use crate::server::{Configured, Reached as _};

#[tokio::test]
async fn streams_are_declared_as_they_should_be() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    publish(&*bus, &events(1..=1)).await;
    let config = admin(&client, "STREAM.INFO.ORDERS", Value::Null).await["config"].clone();
    for (key, value) in [
        ("subjects", json!(["orders.v1.>", "orders-repair.v1.>"])),
        ("storage", json!("file")),
        ("retention", json!("limits")),
        ("discard", json!("new")),
        ("max_age", json!(604_800_000_000_000_u64)),
        ("max_bytes", json!(-1)),
        ("max_msg_size", json!(1_048_576)),
        ("num_replicas", json!(1)),
        ("duplicate_window", json!(120_000_000_000_u64)),
        ("deny_delete", json!(true)),
        ("deny_purge", json!(true)),
        ("allow_direct", json!(true)),
        ("allow_atomic", json!(true)),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert!(config["persist_mode"].is_null() || config["persist_mode"] == "default", "{config}");
    assert_eq!(bus.retention(), Duration::from_secs(604_800));
}

#[tokio::test]
async fn a_stream_with_other_settings_is_changed_and_keeps_the_rest() {
    let nats = Nats::start();
    let client = nats.stranger().await;
    let made = admin(&client, "STREAM.CREATE.ORDERS", json!({
        "name": "ORDERS", "subjects": ["orders.v1.>"], "storage": "file", "retention": "limits", "discard": "old",
        "num_replicas": 1, "max_age": 3_600_000_000_000_u64, "description": "ours", "metadata": { "team": "orders" },
    }))
    .await;
    assert!(made["error"].is_null(), "{made}");
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=3)).await;
    let config = admin(&client, "STREAM.INFO.ORDERS", Value::Null).await["config"].clone();
    assert_eq!(config["discard"], "new");
    assert_eq!(config["max_age"], json!(604_800_000_000_000_u64));
    assert_eq!(config["description"], "ours");
    assert_eq!(config["metadata"]["team"], "orders");
}

#[tokio::test]
async fn what_cannot_be_changed_is_said() {
    let nats = Nats::start();
    let client = nats.stranger().await;
    let made = admin(
        &client,
        "STREAM.CREATE.ORDERS",
        json!({
            "name": "ORDERS", "subjects": ["orders.v1.>"], "storage": "memory", "retention": "limits", "discard": "new",
            "num_replicas": 1,
        }),
    )
    .await;
    assert!(made["error"].is_null(), "{made}");
    match nats.bus().await.publisher(&lane()).await.err() {
        Some(BusError::Unavailable(problem)) => {
            assert!(problem.contains("ORDERS") && problem.contains("storage"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn streams_can_be_declared_before_they_are_used_and_waited_for() {
    let nats = Nats::start();
    let (bus, other) = (nats.bus().await, nats.bus().await);
    assert_eq!(eventually(async || other.missing(&["orders", "users"]).await).await, ["orders", "users"]);
    eventually(async || bus.declare(&["orders"]).await).await;
    assert_eq!(other.missing(&["orders", "users"]).await.unwrap(), ["users"]);
    // Several may do it at once, and again.
    let (first, second) = tokio::join!(bus.declare(&["orders", "users"]), other.declare(&["orders", "users"]));
    first.unwrap();
    second.unwrap();
    assert_eq!(other.missing(&["orders", "users"]).await.unwrap(), Vec::<String>::new());
    let config = admin(&nats.stranger().await, "STREAM.INFO.USERS", Value::Null).await["config"].clone();
    assert_eq!((&config["discard"], &config["deny_delete"]), (&json!("new"), &json!(true)));
    nats.kill();
    assert!(matches!(other.missing(&["orders"]).await, Err(BusError::Unavailable(_))));
    assert!(matches!(other.declare(&["orders", "more"]).await, Err(BusError::Unavailable(_))));
}

#[tokio::test]
async fn a_stream_that_vanishes_is_declared_again() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=3)).await;
    let mut subscription = bus.subscribe("products", &lane(), Resume::FromStart).await.unwrap();
    assert_eq!(numbers(&take(&mut *subscription, 3).await), [1, 2, 3]);
    nats.kill();
    nats.delete_store();
    nats.restart();
    eventually(async || bus.ping().await).await;
    let mut publisher = eventually(async || bus.publisher(&lane()).await).await;
    assert_eq!(publisher.tail(), None);
    publisher.publish(&events(1..=4)).await.unwrap();
    assert!(
        eventually(async || match subscription.next(1, SECOND).await {
            Err(error) => Ok(error),
            Ok(_) => Err(BusError::TailMoved),
        })
        .await
        .to_string()
        .contains("unavailable")
    );
    let mut subscription = bus.subscribe("products", &lane(), Resume::AsAcknowledged).await.unwrap();
    assert_eq!(numbers(&take(&mut *subscription, 4).await), [1, 2, 3, 4]);
}

#[tokio::test]
async fn events_age() {
    let nats = Nats::start();
    let options = JetStreamOptions { retention: Duration::from_secs(2), ..nats.options() };
    let bus = JetStreamBus::connect(options).await.unwrap();
    publish(&*bus, &events(1..=3)).await;
    eventually(async || match read(&*bus, ReadFrom::Start, Scope::All).await.is_empty() {
        true => Ok(()),
        false => Err(BusError::TailMoved),
    })
    .await;
    let mut publisher = bus.publisher(&lane()).await.unwrap();
    assert_eq!(publisher.tail(), None);
    assert_eq!(publisher.losses().await.unwrap(), 0);
    publisher.publish(&events(4..=4)).await.unwrap();
    assert_eq!(publisher.losses().await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_apart() {
    let nats = Configured::start("").await;
    let bus = nats.bus().await;
    let begun = Instant::now();
    match bus.ping().await {
        Err(BusError::Unavailable(problem)) => assert!(problem.contains("no JetStream enabled"), "{problem}"),
        other => panic!("{other:?}"),
    }
    assert!(bus.publisher(&lane()).await.is_err());
    assert!(bus.subscribe("products", &lane(), Resume::FromStart).await.is_err());
    assert!(bus.reader(&lane(), ReadFrom::Start, Scope::All).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn who_may_not_connect_is_told_why() {
    let nats = Nats::builder().login("me", "secret").start();
    let wrong = JetStreamOptions { user: Some("me".to_owned()), password: Some("wrong".to_owned()), ..nats.options() };
    let bus = JetStreamBus::connect(wrong).await.unwrap();
    match bus.ping().await {
        Err(BusError::Unavailable(problem)) => {
            assert!(problem.to_lowercase().contains("authorization"), "{problem}");
            assert!(!problem.contains("wrong"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    let right = JetStreamOptions { user: Some("me".to_owned()), password: Some("secret".to_owned()), ..nats.options() };
    JetStreamBus::connect(right).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn wrong_options_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, empty) = (folder.path().join("missing"), folder.path().join("empty"));
    std::fs::write(&empty, "").unwrap();
    let base = JetStreamOptions::default;
    let (missing, empty) = (Some(missing), Some(empty));
    let text = || Some("x".to_owned());
    for (option, options) in [
        ("url", JetStreamOptions { url: " , ".to_owned(), ..base() }),
        ("url", JetStreamOptions { url: "http://localhost".to_owned(), ..base() }),
        ("url", JetStreamOptions { url: "ws://localhost".to_owned(), ..base() }),
        ("url", JetStreamOptions { url: "nats://one,nats://[".to_owned(), ..base() }),
        ("credentials", JetStreamOptions { credentials: missing.clone(), ..base() }),
        ("credentials", JetStreamOptions { credentials: empty.clone(), ..base() }),
        ("credentials", JetStreamOptions { credentials: empty.clone(), user: text(), password: text(), ..base() }),
        ("password", JetStreamOptions { user: text(), ..base() }),
        ("user", JetStreamOptions { password: text(), ..base() }),
        ("ca", JetStreamOptions { ca: missing.clone(), ..base() }),
        ("ca", JetStreamOptions { ca: empty.clone(), ..base() }),
        ("key", JetStreamOptions { cert: empty.clone(), ..base() }),
        ("cert", JetStreamOptions { key: empty.clone(), ..base() }),
        ("cert", JetStreamOptions { cert: missing.clone(), key: empty.clone(), ..base() }),
        ("replicas", JetStreamOptions { replicas: 2, ..base() }),
        ("retention", JetStreamOptions { retention: Duration::ZERO, ..base() }),
        ("max_bytes", JetStreamOptions { max_bytes: 0, ..base() }),
        ("lanes", JetStreamOptions { lanes: [("users".to_owned(), 0)].into(), ..base() }),
        ("lanes", JetStreamOptions { lanes: [("users".to_owned(), 1025)].into(), ..base() }),
    ] {
        match JetStreamBus::connect(options).await.err() {
            Some(error) => assert_eq!(error.option, option, "{error}"),
            None => panic!("{option} is taken"),
        }
    }
    let options = JetStreamOptions {
        url: "nats://me:secret@host:4222".to_owned(),
        password: Some("secret".to_owned()),
        ..base()
    };
    assert!(!format!("{options:?}").contains("secret"), "{options:?}");
}

#[tokio::test]
async fn a_stream_has_as_many_lanes_as_it_is_opened_with() {
    let nats = Nats::start();
    let options = JetStreamOptions { lanes: [("users".to_owned(), 12)].into(), ..nats.options() };
    let bus = JetStreamBus::connect(options).await.unwrap();
    assert_eq!((bus.lanes("users").len(), bus.lanes("orders").len()), (12, 4));
    let last = bus.lanes("users").pop().unwrap();
    assert_eq!(last.to_string(), "users.p11");
    assert_eq!(bus.publisher(&last).await.unwrap().tail(), None);
}

#[tokio::test]
async fn a_stream_has_a_plain_name() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    let odd = Lane { stream: "Orders.*".to_owned(), partition: 0 };
    match bus.publisher(&odd).await.err() {
        Some(BusError::Unavailable(problem)) => assert!(problem.contains("lower-case"), "{problem}"),
        other => panic!("{other:?}"),
    }
}

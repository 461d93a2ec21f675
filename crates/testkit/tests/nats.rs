//! The NATS servers of tests do what tests take for granted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use meshwork_testkit::{FaultProxy, Nats};
use serde_json::{Value, json};

/// Declares a stream.
fn declare(nats: &Nats, name: &str, replicas: usize) {
    let settings = json!({ "name": name, "subjects": [format!("{name}.>")], "num_replicas": replicas });
    let answer = nats.api(&format!("STREAM.CREATE.{name}"), &settings.to_string());
    assert_eq!(answer["error"], Value::Null, "{answer}");
}

/// How many messages a stream has.
fn messages(nats: &Nats, name: &str) -> Option<u64> {
    nats.api(&format!("STREAM.INFO.{name}"), "")["state"]["messages"].as_u64()
}

#[test]
fn a_server_keeps_what_it_acknowledged_when_it_is_killed_or_stopped() {
    let nats = Nats::start();
    declare(&nats, "KEPT", 1);
    assert_eq!(nats.leader_of("KEPT"), 0);
    nats.client().publish("KEPT.a", b"one").unwrap();
    nats.kill();
    assert!(!nats.node(0).is_running());
    nats.restart();
    nats.client().publish("KEPT.a", b"two").unwrap();
    nats.stop();
    nats.restart();
    assert_eq!(messages(&nats, "KEPT"), Some(2));
}

#[test]
fn a_store_is_put_back_to_a_copy_and_deleted() {
    let nats = Nats::builder().sync_always().start();
    declare(&nats, "KEPT", 1);
    nats.client().publish("KEPT.a", b"one").unwrap();
    nats.stop();
    let copy = nats.copy_store();
    nats.restart();
    nats.client().publish("KEPT.a", b"two").unwrap();
    nats.kill();
    nats.restore(&copy);
    nats.restart();
    assert_eq!(messages(&nats, "KEPT"), Some(1));
    nats.kill();
    nats.delete_store();
    nats.restart();
    assert_eq!(messages(&nats, "KEPT"), None);
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed() {
    let nats = Nats::start();
    declare(&nats, "KEPT", 1);
    let mut client = nats.client();
    nats.freeze();
    assert!(nats.node(0).is_running());
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.publish("KEPT.a", b"one"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!answer.is_finished(), "it answers while it is frozen");
        nats.thaw();
        answer.join().unwrap().unwrap();
    });
}

#[test]
fn a_server_asks_for_a_password_over_tls_and_refuses_long_messages() {
    let nats = Nats::builder().login("user", "a \"pass\" word").tls().max_payload(1_000).max_file(100_000).start();
    assert!(nats.url().starts_with("tls://127.0.0.1:"), "{}", nats.url());
    assert!(nats.ca_certificate().is_file());
    declare(&nats, "KEPT", 1);
    let mut client = nats.client();
    client.publish("KEPT.a", &[7; 1_000]).unwrap();
    client.publish("KEPT.a", &[7; 1_001]).unwrap_err();
    let answer = nats.api("STREAM.CREATE.BIG", &json!({ "name": "BIG", "max_bytes": 200_000 }).to_string());
    assert!(answer["error"].is_object(), "{answer}");
}

#[test]
fn a_cluster_elects_another_leader_and_takes_the_lost_node_back() {
    let nats = Nats::cluster();
    assert_eq!(nats.nodes().len(), 3);
    assert_eq!(nats.url().split(',').count(), 3);
    declare(&nats, "KEPT", 3);
    nats.client().publish("KEPT.a", b"one").unwrap();
    let first = nats.leader_of("KEPT");
    nats.node(first).kill();
    let second = nats.leader_of("KEPT");
    assert_ne!(first, second);
    // The leaders of the cluster and of the stream may both have gone.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = nats.client().publish("KEPT.a", b"two") {
        assert!(Instant::now() < deadline, "{error}");
    }
    nats.node(first).delete_store();
    nats.restart();
    nats.leader_of("KEPT");
    assert_eq!(messages(&nats, "KEPT").map(|messages| messages >= 2), Some(true));
    nats.kill();
    nats.restart();
    nats.leader_of("KEPT");
}

#[tokio::test]
async fn a_server_is_reached_through_a_proxy() {
    let nats = Nats::start();
    let proxy = FaultProxy::start(nats.address()).await;
    let address = proxy.addr();
    let greeting = tokio::task::spawn_blocking(move || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut greeting = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut greeting).unwrap();
        greeting
    });
    assert!(greeting.await.unwrap().starts_with("INFO "));
    proxy.cut().await;
    let refused = tokio::task::spawn_blocking(move || TcpStream::connect(address).unwrap_err()).await.unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

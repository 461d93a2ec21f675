//! The ops port.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use meshwork::server::health::{Check, Health};
use meshwork::server::ops::Ops;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::support::{LONG, breakable, get, get_until, http, serve_ops};

fn flag(broken: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(broken))
}

#[tokio::test]
async fn livez_answers_before_and_after_the_server_serves() {
    let health = Health::new();
    health.check(breakable("own", &flag(true)).required(true));
    let ops = serve_ops(Ops::new().health("users", health.clone())).await;
    assert_eq!(get(ops.address, "/livez").await, (200, "ok\n".to_owned()));
    health.open();
    assert_eq!(get(ops.address, "/livez").await, (200, "ok\n".to_owned()));
    // What stops is to be left alone.
    health.drain();
    assert_eq!(get(ops.address, "/livez").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn readyz_says_who_is_not_ready_and_why() {
    let (users, orders) = (Health::new(), Health::new());
    let (own, shared) = (flag(false), flag(false));
    users.check(breakable("own", &own).required(true));
    users.check(breakable("shared", &shared));
    let keys = orders.condition("keys");
    let ops = serve_ops(Ops::new().health("users", users.clone()).health("orders", orders.clone())).await;
    let both = "users has not begun to serve\norders starts: it waits for keys\n";
    assert_eq!(get_until(ops.address, "/readyz", 503).await.lines().count(), 2);
    timeout(LONG, async {
        while get(ops.address, "/readyz").await != (503, both.to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    users.open();
    orders.open();
    assert_eq!(get(ops.address, "/readyz").await, (503, "orders starts: it waits for keys\n".to_owned()));
    keys.met();
    assert_eq!(get(ops.address, "/readyz").await, (200, "ok\n".to_owned()));
    // Degraded, it can serve.
    shared.store(true, Ordering::SeqCst);
    get_until(ops.address, "/health", 503).await;
    assert_eq!(get(ops.address, "/readyz").await, (200, "ok\n".to_owned()));
    own.store(true, Ordering::SeqCst);
    assert_eq!(get_until(ops.address, "/readyz", 503).await, "users is not ready: own failed\n");
    own.store(false, Ordering::SeqCst);
    get_until(ops.address, "/readyz", 200).await;
    orders.drain();
    assert_eq!(get(ops.address, "/readyz").await, (503, "orders is stopping\n".to_owned()));
}

#[tokio::test]
async fn health_tells_every_check_and_is_200_only_when_healthy() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_500);
    let (users, orders) = (Health::with_clock(move || now), Health::with_clock(move || now));
    let shared = flag(false);
    users.check(breakable("shared", &shared));
    users.check(Check::lag("relay", 30.0, || async { Ok::<_, String>(0.5) }));
    users.open();
    orders.open();
    let ops = serve_ops(Ops::new().health("users", users.clone()).health("orders", orders)).await;
    let parse = |body: String| serde_json::from_str::<Value>(&body).unwrap();

    let mut healthy = parse(get_until(ops.address, "/health", 200).await);
    for check in ["shared", "relay"] {
        let duration = healthy["services"]["users"]["checks"][check]["duration_ms"].take();
        assert!(duration.as_f64().is_some_and(|millis| millis >= 0.0), "{duration}");
    }
    let at = "2020-09-13T12:26:40.500Z";
    let service = |checks: Value| json!({"status": "healthy", "live": true, "started": true, "ready": true, "draining": false, "checks": checks});
    let check = |severity: &str| {
        json!({
            "status": "passing", "severity": severity, "since": at, "checked": at, "duration_ms": null, "failures": 0,
            "last_error": null, "last_error_at": null
        })
    };
    let mut relay = check("degrades");
    (relay["value"], relay["limit"]) = (json!(0.5), json!(30.0));
    assert_eq!(
        healthy,
        json!({
            "status": "healthy", "timestamp": at,
            "services": {
                "users": service(json!({"shared": check("degrades"), "relay": relay})),
                "orders": service(json!({}))
            }
        })
    );

    shared.store(true, Ordering::SeqCst);
    let degraded = parse(get_until(ops.address, "/health", 503).await);
    assert_eq!(degraded["status"], "degraded");
    assert_eq!(degraded["services"]["orders"]["status"], "healthy");
    let found = &degraded["services"]["users"]["checks"]["shared"];
    assert_eq!((&found["status"], &found["last_error"]), (&json!("failed"), &json!("it is \"broken\"")));
    assert_eq!(found["last_error_at"], at);
    assert!(found["failures"].as_u64().unwrap() >= 1);

    users.drain();
    let (code, body) = get(ops.address, "/health").await;
    let unhealthy = parse(body);
    assert_eq!((code, &unhealthy["status"]), (503, &json!("unhealthy")));
    assert_eq!(unhealthy["services"]["users"]["draining"], true);
}

#[tokio::test]
async fn health_tells_what_the_start_waits_for() {
    let health = Health::new();
    let _keys = health.condition("keys");
    health.open();
    let ops = serve_ops(Ops::new().health("users", health)).await;
    let (code, body) = get(ops.address, "/health").await;
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &report["status"]), (503, &json!("unhealthy")));
    assert_eq!(report["services"]["users"]["waits_for"], json!(["keys"]));
}

#[tokio::test]
async fn metrics_are_text_that_prometheus_reads() {
    let health = Health::new();
    health.check(breakable("a \"quoted\\ name", &flag(false)).required(true));
    health.check(Check::lag("relay", 30.0, || async { Ok::<_, String>(0.5) }));
    health.open();
    let source = |out: &mut String| out.push_str("# HELP own_total Mine.\n# TYPE own_total counter\nown_total 7");
    let ops =
        serve_ops(Ops::new().health("users", health.clone()).health("orders", Health::new()).metrics(source)).await;
    timeout(LONG, health.ready()).await.unwrap();
    let text = timeout(LONG, async {
        loop {
            let (head, body) = http(ops.address, "GET /metrics").await;
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
            assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
            if body.contains("meshwork_health_check_value") {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    for line in [
        "meshwork_health_ready{server=\"users\"} 1",
        "meshwork_health_ready{server=\"orders\"} 0",
        "meshwork_health_live{server=\"orders\"} 1",
        "meshwork_health_check_passing{server=\"users\",check=\"a \\\"quoted\\\\ name\",severity=\"required\"} 1",
        "meshwork_health_check_value{server=\"users\",check=\"relay\",severity=\"degrades\"} 0.5",
        "meshwork_health_check_limit{server=\"users\",check=\"relay\",severity=\"degrades\"} 30",
        "own_total 7",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with('\n'));
    // Each family is told of once, before its samples, and each sample is there once.
    let mut seen = HashSet::new();
    let mut family = "";
    for line in text.lines() {
        assert!(seen.insert(line), "twice: {line}");
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            assert_eq!(line.split(['{', ' ']).next().unwrap(), family);
        }
    }
}

#[tokio::test]
async fn only_get_and_head_are_answered_and_only_known_paths() {
    let ops = serve_ops(Ops::new()).await;
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let (head, _) = http(ops.address, &format!("{method} {path}")).await;
            assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
            assert!(head.contains("allow: GET, HEAD"), "{head}");
        }
        let (head, body) = http(ops.address, &format!("HEAD {path}")).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "", "{path}");
        assert_eq!(get(ops.address, &format!("{path}?verbose=1")).await.0, 200);
    }
    for path in ["/", "/livez/", "/readyz/x", "/metricsx"] {
        assert_eq!(get(ops.address, path).await.0, 404, "{path}");
    }
}

/// A connection from 127.0.0.`last` that was answered, and stays open.
async fn open_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Its answer shows that it has its place.
    assert_eq!(timeout(LONG, stream.read_u8()).await.unwrap().unwrap(), b'H');
    stream
}

#[tokio::test]
async fn s12_one_connection_more_of_an_address_takes_the_place_of_its_oldest() {
    let ops = serve_ops(Ops::new()).await;
    let began = Instant::now();
    let (mut other, mut oldest) = (open_from(3, ops.address).await, open_from(2, ops.address).await);
    let mut crowd = Vec::new();
    for _ in 0..16 {
        crowd.push(open_from(2, ops.address).await);
    }
    let mut said = Vec::new();
    let _ = timeout(LONG, oldest.read_to_end(&mut said)).await.unwrap();
    // Idle connections are closed after 5 s: a machine that took longer has shown nothing here.
    if began.elapsed() < Duration::from_secs(4) {
        other.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        timeout(LONG, other.read_to_string(&mut answers)).await.unwrap().unwrap();
        assert_eq!(answers.matches("TTP/1.1 ").count(), 2, "{answers}");
    }
}

#[tokio::test]
async fn s12_probes_are_answered_although_all_places_are_taken() {
    let ops = serve_ops(Ops::new()).await;
    let mut crowd = Vec::new();
    for number in 0..200 {
        crowd.push(open_from(10 + number % 8, ops.address).await);
        if number % 10 == 9 {
            assert_eq!(get(ops.address, "/readyz").await.0, 200);
        }
    }
}

#[tokio::test]
async fn the_port_stops_although_connections_are_open() {
    let ops = serve_ops(Ops::new()).await;
    let mut half = TcpStream::connect(ops.address).await.unwrap();
    half.write_all(b"GET /livez HT").await.unwrap();
    assert_eq!(get(ops.address, "/livez").await.0, 200);
    ops.shutdown.cancel();
    timeout(LONG, ops.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(ops.address).await.is_err());
}

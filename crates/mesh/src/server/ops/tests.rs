//! The bounds of a connection, in paused time.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

/// A connection whose pipe holds `room` bytes.
fn connect(ops: Ops, room: usize) -> (DuplexStream, JoinHandle<()>, CancellationToken) {
    let (client, server) = duplex(room);
    let stopping = CancellationToken::new();
    let served = tokio::spawn(Arc::new(ops).connection(server, stopping.clone()));
    (client, served, stopping)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_its_head_slowly_is_let_go_after_five_seconds() {
    let (mut client, served, _stopping) = connect(Ops::new(), 1024);
    let began = Instant::now();
    client.write_all(b"GET /livez HT").await.unwrap();
    served.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let (mut client, served, _stopping) = connect(Ops::new(), 1024);
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let read = client.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    let began = Instant::now();
    served.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), HEAD.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_let_go() {
    let ops = Ops::new().metrics(|out: &mut String| out.push_str(&"x 1\n".repeat(100_000)));
    let (mut client, served, _stopping) = connect(ops, 1024);
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let began = Instant::now();
    served.await.unwrap();
    assert_eq!(began.elapsed(), AGE + DRAIN);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_request_at_most_a_second() {
    let (mut client, served, stopping) = connect(Ops::new(), 1024);
    client.write_all(b"GET /livez HT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    stopping.cancel();
    let began = Instant::now();
    served.await.unwrap();
    assert!(began.elapsed() <= DRAIN, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    for head in [
        format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(32 * 1024)),
        format!("GET /livez HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65)),
    ] {
        let (mut client, served, _stopping) = connect(Ops::new(), 64 * 1024);
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        served.await.unwrap();
    }
}

#[test]
fn a_source_that_panics_is_left_out() {
    let ops = Ops::new()
        .metrics(|out: &mut String| out.push_str("first 1"))
        .metrics(|out: &mut String| {
            out.push_str("half");
            assert!(out.is_empty(), "as planned");
        })
        .metrics(|out: &mut String| out.push_str("last 2\n"));
    assert_eq!(ops.render(), "first 1\nlast 2\n");
}

#[test]
fn livez_fails_when_a_runtime_is_stuck() {
    let health = Health::new();
    let stuck = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    stuck.block_on(async { health.open() });
    let ops = Ops::new().health("users", health);
    let livez = http::Request::get("/livez").body(()).unwrap();
    // Nobody drives it any more; the ops port has a runtime of its own.
    let own = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    own.block_on(async {
        assert_eq!(ops.answer(&livez).status(), 200);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(ops.answer(&livez).status(), 503);
    });
}

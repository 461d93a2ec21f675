//! The fault proxy does to connections what it says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use meshwork_testkit::FaultProxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what must not come.
const SILENCE: Duration = Duration::from_millis(150);

/// A server that answers with what it is sent, and tells the test of it.
struct Echo {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
    server: JoinHandle<()>,
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Bytes(Vec<u8>),
    End,
    Break,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream, tell.clone()));
            }
        });
        Self { address, heard, server }
    }

    /// What the server hears next, with all bytes up to `bytes.len()` in one.
    async fn hears(&mut self, bytes: &[u8]) {
        let mut all = Vec::new();
        while all.len() < bytes.len() {
            match timeout(PATIENCE, self.heard.recv()).await.unwrap().unwrap() {
                Heard::Bytes(more) => all.extend(more),
                other => panic!("the server heard {other:?} after {all:?}"),
            }
        }
        assert_eq!(all, bytes);
    }

    async fn hears_the_end(&mut self) -> Heard {
        timeout(PATIENCE, self.heard.recv()).await.unwrap().unwrap()
    }

    async fn hears_nothing(&mut self) {
        let heard = timeout(SILENCE, self.heard.recv()).await;
        assert!(heard.is_err(), "the server heard {heard:?}");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn echo(mut stream: TcpStream, tell: mpsc::UnboundedSender<Heard>) {
    let mut buffer = vec![0; 4096];
    loop {
        let heard = match stream.read(&mut buffer).await {
            Ok(0) => Heard::End,
            Ok(read) => Heard::Bytes(buffer[..read].to_vec()),
            Err(_) => Heard::Break,
        };
        let answer = if let Heard::Bytes(bytes) = &heard { Some(bytes.clone()) } else { None };
        // The test may have ended.
        tell.send(heard).ok();
        let Some(answer) = answer else { return };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn proxied() -> (Echo, FaultProxy) {
    let echo = Echo::start().await;
    let proxy = FaultProxy::start(echo.address).await;
    (echo, proxy)
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(proxy.addr())).await.unwrap().unwrap()
}

/// What comes next, at most as many bytes as there are.
async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    let read = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap()?;
    Ok(buffer[..read].to_vec())
}

async fn ask(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, bytes);
}

async fn assert_silent(stream: &mut TcpStream) {
    let mut buffer = [0; 1];
    let read = timeout(SILENCE, stream.read(&mut buffer)).await;
    assert!(read.is_err(), "something came: {read:?}");
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not so within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn without_faults_bytes_and_ends_pass_and_connections_are_counted() {
    let (mut echo, proxy) = proxied().await;
    assert_eq!(proxy.url("nats"), format!("nats://{}", proxy.addr()));
    let (mut one, mut two) = (connect(&proxy).await, connect(&proxy).await);
    ask(&mut one, b"one").await;
    echo.hears(b"one").await;
    ask(&mut two, b"two").await;
    echo.hears(b"two").await;
    assert_eq!((proxy.connections(), proxy.open()), (2, 2));
    // Half of the connection is closed; the server closes the other.
    one.shutdown().await.unwrap();
    assert_eq!(echo.hears_the_end().await, Heard::End);
    assert_eq!(read(&mut one).await.unwrap(), b"");
    eventually("one connection is closed", || proxy.open() == 1).await;
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_cut_closes_all_connections_and_refuses_new_ones_until_it_is_healed() {
    let (mut echo, proxy) = proxied().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"before").await;
    echo.hears(b"before").await;
    for _ in 0..3 {
        proxy.cut().await;
        assert_eq!(proxy.open(), 0);
        assert_eq!(read(&mut stream).await.unwrap(), b"");
        assert_eq!(echo.hears_the_end().await, Heard::End);
        let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.heal().await;
        stream = connect(&proxy).await;
        ask(&mut stream, b"after").await;
        echo.hears(b"after").await;
    }
}

#[tokio::test]
async fn a_reset_breaks_both_sides_and_lets_new_connections_pass() {
    let (mut echo, proxy) = proxied().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"before").await;
    echo.hears(b"before").await;
    proxy.reset().await;
    assert_eq!(read(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(echo.hears_the_end().await, Heard::Break);
    ask(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn a_half_open_connection_takes_bytes_and_tells_nobody_and_is_broken_when_it_is_healed() {
    let (mut echo, proxy) = proxied().await;
    let (mut talks, mut closes) = (connect(&proxy).await, connect(&proxy).await);
    let mut idle = connect(&proxy).await;
    for stream in [&mut talks, &mut closes, &mut idle] {
        ask(stream, b"before").await;
        echo.hears(b"before").await;
    }
    proxy.half_open();
    let mut late = connect(&proxy).await;
    talks.write_all(b"lost").await.unwrap();
    late.write_all(b"lost").await.unwrap();
    closes.shutdown().await.unwrap();
    echo.hears_nothing().await;
    for stream in [&mut talks, &mut closes, &mut late] {
        assert_silent(stream).await;
    }
    proxy.heal().await;
    for stream in [&mut talks, &mut closes, &mut late] {
        assert_eq!(read(stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    // One that has lost nothing goes on.
    for _ in 0..2 {
        assert_eq!(echo.hears_the_end().await, Heard::Break);
    }
    ask(&mut idle, b"after").await;
    ask(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn connections_of_the_moment_are_swallowed_and_new_ones_pass() {
    let (mut echo, proxy) = proxied().await;
    let mut current = connect(&proxy).await;
    ask(&mut current, b"before").await;
    echo.hears(b"before").await;
    proxy.swallow_current().await;
    current.write_all(b"lost").await.unwrap();
    echo.hears_nothing().await;
    assert_silent(&mut current).await;
    let mut new = connect(&proxy).await;
    ask(&mut new, b"passes").await;
    echo.hears(b"passes").await;
    // Now it is one of the moment's itself.
    proxy.swallow_current().await;
    new.write_all(b"lost").await.unwrap();
    assert_silent(&mut new).await;
    ask(&mut connect(&proxy).await, b"passes").await;
    proxy.heal().await;
    for stream in [&mut current, &mut new] {
        assert_eq!(read(stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    ask(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn new_connections_are_led_to_another_server() {
    let (mut echo, proxy) = proxied().await;
    let mut other = Echo::start().await;
    let mut stays = connect(&proxy).await;
    ask(&mut stays, b"one").await;
    echo.hears(b"one").await;
    proxy.redirect(other.address);
    ask(&mut stays, b"still one").await;
    echo.hears(b"still one").await;
    ask(&mut connect(&proxy).await, b"other").await;
    other.hears(b"other").await;
}

#[tokio::test]
async fn what_is_held_passes_when_it_is_healed() {
    let (mut echo, proxy) = proxied().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"before").await;
    echo.hears(b"before").await;
    proxy.hold();
    stream.write_all(b"held").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut late = connect(&proxy).await;
    late.write_all(b"late").await.unwrap();
    echo.hears_nothing().await;
    proxy.heal().await;
    assert_eq!(read(&mut stream).await.unwrap(), b"held");
    assert_eq!(read(&mut stream).await.unwrap(), b"");
    assert_eq!(read(&mut late).await.unwrap(), b"late");
}

#[tokio::test]
async fn a_request_passes_and_its_answer_is_lost_once() {
    let (mut echo, proxy) = proxied().await;
    let (mut other, mut stream) = (connect(&proxy).await, connect(&proxy).await);
    ask(&mut stream, b"pay 1;").await;
    echo.hears(b"pay 1;").await;
    // What was sent before doesn't count, and it is recognised in however many pieces it comes.
    let lost = proxy.cut_after_request(|sent| sent.ends_with(b"pay 1;"));
    ask(&mut other, b"look;").await;
    echo.hears(b"look;").await;
    ask(&mut stream, b"pay").await;
    echo.hears(b"pay").await;
    stream.write_all(b" 1;").await.unwrap();
    echo.hears(b" 1;").await;
    timeout(PATIENCE, lost).await.unwrap().unwrap();
    assert_eq!(read(&mut stream).await.unwrap(), b"");
    // The others go on, and so does the same request on a new connection.
    ask(&mut other, b"pay 1;").await;
    echo.hears(b"pay 1;").await;
    ask(&mut connect(&proxy).await, b"pay 1;").await;
}

#[tokio::test]
async fn a_request_that_never_came_is_not_waited_for_after_healing() {
    let (_echo, proxy) = proxied().await;
    let replaced = proxy.cut_after_request(|_| true);
    let never = proxy.cut_after_request(|_| true);
    timeout(PATIENCE, replaced).await.unwrap().unwrap_err();
    proxy.heal().await;
    timeout(PATIENCE, never).await.unwrap().unwrap_err();
    ask(&mut connect(&proxy).await, b"anything").await;
}

#[tokio::test]
async fn latency_delays_both_directions_and_keeps_the_order() {
    let (_echo, proxy) = proxied().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"before").await;
    proxy.latency(Duration::from_millis(60), Duration::from_millis(40));
    let start = Instant::now();
    let sent: Vec<u8> = (0..20).collect();
    for byte in &sent {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = vec![0; sent.len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, sent);
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_bandwidth_bounds_what_passes_in_a_time() {
    let (_echo, proxy) = proxied().await;
    let mut stream = connect(&proxy).await;
    proxy.bandwidth(64_000);
    let start = Instant::now();
    ask(&mut stream, &vec![7; 16_000]).await;
    // All but the last of its pieces had to be waited for.
    assert!(start.elapsed() >= Duration::from_millis(230), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_slow_close_tells_the_other_side_later() {
    let (mut echo, proxy) = proxied().await;
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"before").await;
    echo.hears(b"before").await;
    proxy.slow_close(Duration::from_millis(100));
    let start = Instant::now();
    stream.shutdown().await.unwrap();
    assert_eq!(echo.hears_the_end().await, Heard::End);
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_side_that_is_not_read_is_not_taken_from_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await;
    let mut stream = connect(&proxy).await;
    let (mut upstream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let chunk = vec![7; 64 << 10];
    let mut taken = 0;
    // The kernel's buffers take some megabytes.
    while let Ok(written) = timeout(SILENCE, stream.write(&chunk)).await {
        taken += written.unwrap();
        assert!(taken < 256 << 20, "the proxy takes whatever comes");
    }
    stream.shutdown().await.unwrap();
    let mut passed = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match timeout(PATIENCE, upstream.read(&mut buffer)).await.unwrap().unwrap() {
            0 => break,
            read => passed += read,
        }
    }
    assert_eq!(passed, taken, "nothing is lost");
}

#[tokio::test]
async fn a_server_that_is_not_there_breaks_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let proxy = FaultProxy::start(gone).await;
    let mut stream = connect(&proxy).await;
    assert_eq!(read(&mut stream).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn nothing_is_left_of_a_proxy_that_is_dropped() {
    let (mut echo, proxy) = proxied().await;
    let address = proxy.addr();
    let mut stream = connect(&proxy).await;
    ask(&mut stream, b"before").await;
    echo.hears(b"before").await;
    drop(proxy);
    assert_eq!(read(&mut stream).await.unwrap(), b"");
    assert_eq!(echo.hears_the_end().await, Heard::End);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

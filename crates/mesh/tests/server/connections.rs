//! Connections: their age, their idleness, their number, the calls on each.

use std::time::Duration;

use meshwork::Server;
use meshwork::connect::Connector as _;
use meshwork::endpoint::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tonic::Request;

use crate::support::{NAME, Running, SLEEP, STREAM, UNARY, of_connections, stream, unary, until};

type Client = h2::client::SendRequest<bytes::Bytes>;

/// A connection of its own, and when it was told to go away or ended.
async fn connect(server: &Running) -> (Client, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let io = server.network.connect(&Address::Named(NAME.into())).await.unwrap();
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    (client, tokio::spawn(connection))
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_gets_goaway_within_ten_percent_and_its_calls_go_on() {
    let age = Duration::from_secs(100);
    let server = Running::start(Server::builder().max_connection_age(age));
    let mut ends = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        let (client, connection) = connect(&server).await;
        ends.push(tokio::spawn(async move {
            connection.await.unwrap().unwrap();
            drop(client);
            begin.elapsed()
        }));
    }
    let mut ages = Vec::new();
    for end in ends {
        ages.push(end.await.unwrap());
    }
    for lived in &ages {
        assert!((age.mul_f64(0.9)..age.mul_f64(1.1) + Duration::from_millis(100)).contains(lived), "{lived:?}");
    }
    ages.sort();
    assert!(ages[19] - ages[0] > Duration::from_secs(2), "they did not spread: {ages:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_after_goaway_for_the_grace_and_new_ones_go_elsewhere() {
    let builder =
        Server::builder().max_connection_age(Duration::from_secs(10)).max_connection_age_grace(Duration::from_secs(20));
    let server = Running::start(builder);
    let channel = server.channel();
    let call = |millis: &'static str| {
        let channel = channel.clone();
        tokio::spawn(async move { unary(&channel, SLEEP, millis).await })
    };
    // The first ends within the grace, the second does not.
    let (well, cut) = (call("25000"), call("60000"));
    until("both have begun", || server.echo.running() == 2).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(unary(&channel, UNARY, "on a new connection").await.unwrap(), "on a new connection");
    assert_eq!(server.network.connects(NAME), 2);
    well.await.unwrap().unwrap();
    assert!(cut.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_and_a_busy_one_does_not() {
    let server = Running::start(Server::builder().max_connection_idle(Duration::from_secs(30)));
    let channel = server.channel();
    let mut messages = stream(&channel, STREAM, Request::new(String::new())).await.unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(120) {
        messages.message().await.unwrap().unwrap();
    }
    assert_eq!(server.network.open_connections(NAME), 1);
    drop(messages);
    let begin = Instant::now();
    let (client, connection) = connect(&server).await;
    connection.await.unwrap().unwrap();
    drop(client);
    let idle = begin.elapsed();
    assert!((Duration::from_secs(30)..Duration::from_secs(32)).contains(&idle), "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn one_connection_more_than_allowed_reads_why_and_one_less_lets_the_next_in() {
    let server = Running::start(Server::builder().budgets(of_connections(2)));
    let (first, second) = (connect(&server).await, connect(&server).await);
    let (_calls, refused) = connect(&server).await;
    let refused = refused.await.unwrap().unwrap_err();
    assert_eq!(refused.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{refused}");
    drop(first.0);
    first.1.await.unwrap().unwrap();
    until("a place is free", || server.network.open_connections(NAME) < 2).await;
    let (mut client, _connection) = connect(&server).await;
    futures_util::future::poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_dropped_when_the_handshake_takes_too_long() {
    let server = Running::start(Server::builder().handshake_timeout(Duration::from_secs(7)));
    for sent in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let begin = Instant::now();
        let mut io = server.network.connect(&Address::Named(NAME.into())).await.unwrap();
        io.write_all(sent).await.unwrap();
        let mut bytes = Vec::new();
        // The server's own SETTINGS may come before the end.
        let _ = io.read_to_end(&mut bytes).await;
        let lived = begin.elapsed();
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&lived), "{lived:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_so_many_calls_at_once() {
    let server = Running::start(Server::builder().max_concurrent_streams(3));
    let (mut client, _connection) = connect(&server).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    futures_util::future::poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
    assert_eq!(client.current_max_send_streams(), 3);
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_never_up() {
    let forever = Duration::MAX;
    let builder = Server::builder()
        .max_connection_age(forever)
        .max_connection_age_grace(forever)
        .max_connection_idle(forever)
        .handshake_timeout(forever)
        .keepalive(forever, forever)
        .timeout(forever);
    let server = Running::start(builder);
    let channel = server.channel();
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    // Short of the client's own idle time.
    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
    assert_eq!(unary(&channel, UNARY, "y").await.unwrap(), "y");
    assert_eq!(server.network.connects(NAME), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_keep_nobody_out_and_busy_ones_are_let_be() {
    let server = Running::start(Server::builder().budgets(of_connections(3)));
    let busy = server.channel();
    let mut messages = stream(&busy, STREAM, Request::new(String::new())).await.unwrap();
    let longest = connect(&server).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shortest = connect(&server).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Too soon: who has just come may be about to call.
    let (_calls, refused) = connect(&server).await;
    assert_eq!(refused.await.unwrap().unwrap_err().reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    for _ in 0..70 {
        messages.message().await.unwrap().unwrap();
    }
    let (second, last) = (server.channel(), server.channel());
    assert_eq!(unary(&second, UNARY, "let in").await.unwrap(), "let in");
    // It was told to go, in order.
    longest.1.await.unwrap().unwrap();
    assert!(!shortest.1.is_finished());
    let mut third = stream(&last, STREAM, Request::new(String::new())).await.unwrap();
    shortest.1.await.unwrap().unwrap();
    for _ in 0..10 {
        messages.message().await.unwrap().unwrap();
        third.message().await.unwrap().unwrap();
    }
    drop((longest.0, shortest.0));
}

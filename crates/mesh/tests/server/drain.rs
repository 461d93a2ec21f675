//! How a server stops.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork::Server;
use meshwork::connect::Connector as _;
use meshwork::endpoint::Address;
use meshwork::server::Drain;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::{FLOOD, NAME, Running, SLEEP, STREAM, UNARY, stream, unary, until};

const DRAIN: Drain =
    Drain { delay: Duration::from_secs(5), grace: Duration::from_secs(15), hooks: Duration::from_secs(3) };

#[tokio::test(start_paused = true)]
async fn it_serves_on_for_the_delay_and_then_lets_calls_finish() {
    let server = Running::start(Server::builder().drain(DRAIN));
    let channel = server.channel();
    let long = tokio::spawn({
        let channel = channel.clone();
        async move { unary(&channel, SLEEP, "12000").await }
    });
    until("the call has begun", || server.echo.running() == 1).await;
    let begin = Instant::now();
    server.stop();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(unary(&channel, UNARY, "during the delay").await.unwrap(), "during the delay");
    long.await.unwrap().unwrap();
    server.ended().await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(11) && took < DRAIN.delay + DRAIN.grace, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_calls_it_ends_after_the_delay() {
    let server = Running::start(Server::builder().drain(Drain { delay: Duration::ZERO, ..DRAIN }));
    let channel = server.channel();
    unary(&channel, UNARY, "x").await.unwrap();
    let begin = Instant::now();
    server.stop();
    server.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connections_without_calls_do_not_hold_the_end() {
    let server = Running::start(Server::builder().drain(Drain { delay: Duration::ZERO, ..DRAIN }));
    let (name, network) = (Address::Named(NAME.into()), server.network.clone());
    // Neither has spoken to its end: one says nothing, the other half of HTTP/2's preface.
    let silent = network.connect(&name).await.unwrap();
    let mut half = network.connect(&name).await.unwrap();
    half.write_all(b"PRI * HTTP").await.unwrap();
    unary(&server.channel(), UNARY, "accepted after both").await.unwrap();
    let begin = Instant::now();
    server.stop();
    server.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    drop((silent, half));
}

#[tokio::test(start_paused = true)]
async fn streams_end_at_once_with_unavailable_between_two_messages() {
    for path in [STREAM, FLOOD] {
        let server = Running::start(Server::builder().drain(Drain { delay: Duration::ZERO, ..DRAIN }));
        let mut messages = stream(&server.channel(), path, Request::new(String::new())).await.unwrap();
        messages.message().await.unwrap().unwrap();
        let begin = Instant::now();
        server.stop();
        let status = loop {
            match messages.message().await {
                Ok(message) => assert!(message.is_some(), "{path} ended well"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::Unavailable, "{path}: {status:?}");
        assert_eq!(status.get_details_error_info().unwrap().reason, "SERVER_STOPPING");
        assert!(status.get_details_retry_info().is_some());
        assert!(begin.elapsed() < Duration::from_secs(1), "{path} took {:?}", begin.elapsed());
        server.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlasts_the_grace_is_ended() {
    let server = Running::start(Server::builder().drain(DRAIN));
    let call = tokio::spawn({
        let channel = server.channel();
        async move { unary(&channel, SLEEP, "3600000").await }
    });
    until("the call has begun", || server.echo.running() == 1).await;
    let begin = Instant::now();
    server.stop();
    server.ended().await;
    let took = begin.elapsed();
    assert!(took >= DRAIN.delay + DRAIN.grace && took < DRAIN.delay + DRAIN.grace + Duration::from_secs(2), "{took:?}");
    assert!(call.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn s7_servers_that_stop_one_after_the_other_have_one_grace() {
    let over = CancellationToken::new();
    let start = || {
        let drain = Drain { delay: Duration::ZERO, ..DRAIN };
        Running::start(Server::builder().drain(drain).drain_deadline(over.clone().cancelled_owned()))
    };
    let servers = [start(), start(), start()];
    let calls = servers.each_ref().map(|server| {
        let channel = server.channel();
        tokio::spawn(async move { unary(&channel, SLEEP, "3600000").await })
    });
    until("the calls have begun", || servers.iter().all(|server| server.echo.running() == 1)).await;
    let begin = Instant::now();
    tokio::spawn(async move {
        tokio::time::sleep(DRAIN.grace).await;
        over.cancel();
    });
    for server in servers {
        server.stop();
        server.ended().await;
    }
    let took = begin.elapsed();
    assert!(took >= DRAIN.grace && took < DRAIN.grace + Duration::from_secs(7), "{took:?}");
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_run_after_the_last_call_and_are_bounded() {
    let ran = Arc::new(Mutex::new(None));
    let hook = {
        let ran = Arc::clone(&ran);
        async move { *ran.lock().unwrap() = Some(Instant::now()) }
    };
    let builder = Server::builder()
        .drain(Drain { delay: Duration::ZERO, ..DRAIN })
        .on_drain("well", hook)
        .on_drain("panics", async { panic!("as planned") })
        .on_drain("hangs", std::future::pending());
    let server = Running::start(builder);
    let call = tokio::spawn({
        let channel = server.channel();
        async move { unary(&channel, SLEEP, "5000").await }
    });
    until("the call has begun", || server.echo.running() == 1).await;
    let begin = Instant::now();
    server.stop();
    server.ended().await;
    call.await.unwrap().unwrap();
    let hook = ran.lock().unwrap().unwrap() - begin;
    // The call had begun a few milliseconds before.
    assert!(hook > Duration::from_millis(4900), "the hook ran after {hook:?}, before the call had ended");
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(10), "{took:?}");
}

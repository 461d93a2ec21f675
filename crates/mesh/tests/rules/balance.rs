//! Which server gets the calls: by latency, by load, by rate of failure; and where further attempts go.

use std::time::Duration;

use meshwork::Channel;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Net, Server, call, ms, request, server_stream, settle};

const QUICK: Does = Does::AnswerAfter(ms(1));

/// A channel without a policy to a server for each of `does`: a, b, c.
async fn servers(target: &str, does: &[Does]) -> (Net, Vec<Server>, Channel) {
    let net = Net::new();
    let names = &["a", "b", "c"][..does.len()];
    let servers = names.iter().zip(does).map(|(name, does)| net.serve(name, does.clone())).collect();
    let channel = net.channel(target, "{}", names);
    ready(&channel, names.len()).await;
    (net, servers, channel)
}

/// One call after the other for `time`; how many succeeded, and how many did not.
async fn calls(net: &Net, channel: &Channel, time: Duration) -> (usize, usize) {
    let end = net.now() + time;
    let (mut ok, mut failed) = (0, 0);
    while net.now() < end {
        match call(channel).await {
            Ok(_) => ok += 1,
            Err(_) => failed += 1,
        }
        settle().await;
    }
    (ok, failed)
}

/// The part of the attempts that a server saw, in percent.
fn share(net: &Net, name: &str) -> usize {
    net.count(name) * 100 / net.seen().len()
}

#[tokio::test(start_paused = true)]
async fn c3_a_server_that_refuses_does_not_attract_calls() {
    let (net, _servers, channel) = servers("c3-refuses", &[Does::Refuse, QUICK, Does::Refuse]).await;
    let (ok, failed) = calls(&net, &channel, Duration::from_secs(5)).await;
    assert!(ok > 1_000 && failed * 100 <= ok, "{ok} calls succeeded, {failed} failed");
    let tries = net.count("a") + net.count("c");
    assert!(tries > 4 && tries * 20 < ok, "refused, and tried again now and then: {tries}");
}

#[tokio::test(start_paused = true)]
async fn c3_a_server_that_is_exhausted_at_once_gets_a_small_share() {
    let exhausted = Does::Fail(Code::ResourceExhausted);
    let (net, servers, channel) = servers("c3-exhausted", &[exhausted, QUICK, QUICK]).await;
    calls(&net, &channel, Duration::from_secs(5)).await;
    assert!(share(&net, "a") < 5, "{} of {}", net.count("a"), net.seen().len());
    assert!(net.count("a") > 2, "it is tried again now and then");
    servers[0].does(QUICK);
    calls(&net, &channel, Duration::from_secs(8)).await;
    net.forget();
    calls(&net, &channel, Duration::from_secs(2)).await;
    assert!((25..=42).contains(&share(&net, "a")), "it has its share again: {} %", share(&net, "a"));
}

#[tokio::test(start_paused = true)]
async fn c4_one_internal_error_costs_a_small_share() {
    let (net, servers, channel) = servers("c4", &[QUICK, QUICK, QUICK]).await;
    calls(&net, &channel, Duration::from_secs(1)).await;
    servers[0].first([Does::Fail(Code::Internal)]);
    while call(&channel).await.is_ok() {}
    net.forget();
    let (_, failed) = calls(&net, &channel, Duration::from_secs(1)).await;
    assert_eq!(failed, 0);
    assert!(share(&net, "a") > 20, "{} %", share(&net, "a"));
}

#[tokio::test(start_paused = true)]
async fn c5_a_watch_that_answers_late_does_not_make_its_server_look_slow() {
    let (net, servers, channel) = servers("c5", &[QUICK, QUICK]).await;
    calls(&net, &channel, Duration::from_secs(1)).await;
    net.forget();
    servers.iter().for_each(|server| server.does(Does::StreamAfter(Duration::from_secs(3))));
    let other = channel.clone();
    let watch = tokio::spawn(async move {
        let mut watch = server_stream(&other, request()).await.unwrap();
        for _ in 0..3 {
            watch.message().await.unwrap().unwrap();
        }
    });
    settle().await;
    let name = net.seen()[0].server.clone();
    servers.iter().for_each(|server| server.does(QUICK));
    watch.await.unwrap();
    net.forget();
    calls(&net, &channel, Duration::from_secs(1)).await;
    assert!(share(&net, &name) > 20, "{} %", share(&net, &name));
}

/// Two servers with `streams` places each, all taken by calls that hang; what takes them.
async fn full(target: &str, policy: &str, streams: u32) -> (Net, [Server; 2], Channel) {
    let net = Net::new();
    let servers = ["a", "b"].map(|name| net.serve_with(name, Does::Hang, streams));
    let policy = format!(r#"{{"loadBalancingConfig": [{{"least_request_experimental": {{}}}}], {policy}}}"#);
    let channel = net.channel(target, &policy, &["a", "b"]);
    ready(&channel, 2).await;
    (net, servers, channel)
}

/// Has a call wait until both servers have places again; the servers that its attempts went to after that.
async fn attempts_after_waiting(net: &Net, servers: &[Server; 2], channel: &Channel, streams: u32) -> Vec<String> {
    servers.iter().for_each(|server| server.does(Does::Hang));
    let begin = || {
        let channel = channel.clone();
        // Another method than the policy's.
        tokio::spawn(async move { crate::support::unary(&channel, request(), "/test.Other/Hang").await })
    };
    let blockers: Vec<_> = (0..2 * streams).map(|_| begin()).collect();
    settle().await;
    assert!(servers.iter().all(|server| server.streams() == streams as usize));
    let waiting = {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel).await })
    };
    settle().await;
    net.forget();
    servers.iter().for_each(|server| server.does(Does::FailAfter(ms(1), Code::Unavailable)));
    blockers.iter().for_each(tokio::task::JoinHandle::abort);
    waiting.await.unwrap().unwrap_err();
    settle().await;
    net.seen().into_iter().map(|seen| seen.server).collect()
}

#[tokio::test(start_paused = true)]
async fn c18_a_retry_of_a_call_that_had_to_wait_goes_to_another_server() {
    let retry = r#""methodConfig": [{"name": [{"service": "test.Users"}], "retryPolicy": {"maxAttempts": 2,
        "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"]}}]"#;
    let (net, servers, channel) = full("c18-retry", retry, 1).await;
    for round in 0..20 {
        let attempts = attempts_after_waiting(&net, &servers, &channel, 1).await;
        assert_eq!(attempts.len(), 2);
        assert_ne!(attempts[0], attempts[1], "in round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn c18_hedges_of_a_call_that_had_to_wait_do_not_share_a_server() {
    let hedge = r#""methodConfig": [{"name": [{"service": "test.Users"}], "hedgingPolicy": {"maxAttempts": 2,
        "hedgingDelay": "0s", "nonFatalStatusCodes": ["UNAVAILABLE"]}}]"#;
    let (net, servers, channel) = full("c18-hedge", hedge, 2).await;
    for round in 0..20 {
        let attempts = attempts_after_waiting(&net, &servers, &channel, 2).await;
        assert_eq!(attempts.len(), 2);
        assert_ne!(attempts[0], attempts[1], "in round {round}");
    }
}

//! The circuit breaker as picks see it.

use std::time::Duration;

use meshwork::WaitForReady;
use meshwork::observe::Circuit;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, Server, call, ms, request, resolved, server_stream, settle, unary};

const BREAKER: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}], "meshwork": {"circuitBreaker": {"maxOpenPercent": 100}},
    "methodConfig": [{"name": [{"service": "test.Users"}], "meshwork": {"attemptTimeout": "0.1s"}}]}"#;

fn circuit(channel: &meshwork::Channel) -> Circuit {
    channel.endpoints()[0].circuit
}

async fn opened(net: &Net, target: &str, does: Does) -> (Server, meshwork::Channel) {
    let server = net.serve("a", does);
    let channel = net.channel(target, BREAKER, &["a"]);
    ready(&channel, 1).await;
    for failures in 0..5 {
        assert_eq!(circuit(&channel), Circuit::Closed, "after {failures}");
        call(&channel).await.unwrap_err();
    }
    (server, channel)
}

#[tokio::test(start_paused = true)]
async fn five_failures_open_it_and_others_get_the_calls() {
    let net = Net::new();
    let a = net.serve("a", Does::Fail(Code::Unavailable));
    let _b = net.serve("b", Does::Answer);
    let channel = net.channel("breaker", BREAKER, &["a", "b"]);
    ready(&channel, 2).await;
    for _ in 0..40 {
        let _ = call(&channel).await;
    }
    assert_eq!(net.count("a"), 5);
    a.does(Does::Answer);
    tokio::time::sleep(Duration::from_secs(61)).await;
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    assert_eq!(net.count("a"), 10);
    assert_eq!(circuit(&channel), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_open_calls_fail_at_once_and_say_so() {
    let net = Net::new();
    let (_a, channel) = opened(&net, "breaker-all", Does::Fail(Code::Internal)).await;
    let before = net.now();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("circuit breaker"), "{status}");
    assert_eq!((net.now(), net.count("a")), (before, 5));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_ready_waits_for_the_circuit() {
    let net = Net::new();
    let (a, channel) = opened(&net, "breaker-wait", Does::Fail(Code::Unavailable)).await;
    a.does(Does::Answer);
    let mut waits = request();
    waits.extensions_mut().insert(WaitForReady(true));
    let before = net.now();
    assert_eq!(unary(&channel, waits, PATH).await.unwrap(), "a");
    let took = net.now() - before;
    assert!(took >= Duration::from_secs(59) && took <= Duration::from_secs(61), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_half_opens_it_at_once() {
    let net = Net::new();
    let (a, channel) = opened(&net, "breaker-new", Does::Fail(Code::Unavailable)).await;
    assert_eq!(circuit(&channel), Circuit::Open);
    a.does(Does::Answer);
    a.kill().await;
    a.revive().await;
    // The first try was refused: one backoff.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ready(&channel, 1).await;
    settle().await;
    assert_eq!(circuit(&channel), Circuit::HalfOpen);
    for _ in 0..3 {
        assert_eq!(call(&channel).await.unwrap(), "a");
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
}

/// C8: the methods that work go on although one fails everywhere.
#[tokio::test(start_paused = true)]
async fn c8_a_method_that_fails_everywhere_takes_no_other_with_it() {
    for names in [&["a"] as &[&'static str], &["a", "b"], &["a", "b", "c"]] {
        let net = Net::new();
        let servers: Vec<_> = names.iter().map(|name| net.serve(name, Does::Fail(Code::Internal))).collect();
        let policy = BREAKER.replace(r#"{"maxOpenPercent": 100}"#, "{}");
        let channel = net.channel(&format!("breaker-share-{}", names.len()), &policy, names);
        ready(&channel, names.len()).await;
        for _ in 0..100 {
            assert_eq!(call(&channel).await.unwrap_err().code(), Code::Internal, "an answer of a server");
        }
        let open = channel.endpoints().iter().filter(|endpoint| endpoint.circuit == Circuit::Open).count();
        assert_eq!(open, names.len() / 2);
        servers.iter().for_each(|server| server.does(Does::Answer));
        unary(&channel, request(), "/test.Users/Other").await.unwrap();
    }
}

/// Streams that are open hold the breakers of the policy before.
#[tokio::test(start_paused = true)]
async fn a_circuit_that_was_open_when_a_policy_took_breakers_away_keeps_no_place_of_later_ones() {
    let net = Net::new();
    let servers = ["a", "b"].map(|name| net.serve(name, Does::Stream(Duration::from_secs(3600))));
    let policy = BREAKER.replace(r#"{"maxOpenPercent": 100}"#, "{}");
    let names = Names::new(&[]);
    names.config(&["a", "b"], &policy);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///breaker-away").unwrap();
    ready(&channel, 2).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(server_stream(&channel, request()).await.unwrap());
    }
    servers.iter().for_each(|server| server.does(Does::Fail(Code::Internal)));
    let open = async || {
        for _ in 0..20 {
            call(&channel).await.unwrap_err();
        }
        channel.endpoints().iter().filter(|endpoint| endpoint.circuit == Circuit::Open).count()
    };
    assert_eq!(open().await, 1);
    names.config(&["a", "b"], "{}");
    resolved().await;
    assert_eq!(open().await, 0);
    names.config(&["a", "b"], &policy);
    resolved().await;
    assert_eq!(open().await, 1);
    drop(streams);
}

/// C7: five failures of calls that were sent before the circuit opened come when it has closed again.
#[tokio::test(start_paused = true)]
async fn c7_late_failures_of_calls_from_before_do_not_open_it_again() {
    let net = Net::new();
    let a = net.serve("a", Does::FailAfter(Duration::from_secs(62), Code::Internal));
    let channel = net.channel("breaker-late", BREAKER, &["a"]);
    ready(&channel, 1).await;
    let path = "/test.Other/Get";
    let late: Vec<_> = (0..5)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { unary(&channel, request(), path).await })
        })
        .collect();
    settle().await;
    a.does(Does::Fail(Code::Internal));
    for _ in 0..5 {
        call(&channel).await.unwrap_err();
    }
    assert_eq!(circuit(&channel), Circuit::Open);
    a.does(Does::Answer);
    tokio::time::sleep(Duration::from_secs(61)).await;
    for _ in 0..3 {
        call(&channel).await.unwrap();
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
    for late in late {
        assert_eq!(late.await.unwrap().unwrap_err().code(), Code::Internal);
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn codes_in_trailers_count() {
    let net = Net::new();
    let (_a, channel) = opened(&net, "breaker-trailers", Does::Trailers(Code::DataLoss)).await;
    assert_eq!(circuit(&channel), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn attempt_timeouts_count() {
    let net = Net::new();
    let (_a, channel) = opened(&net, "breaker-timeouts", Does::Hang).await;
    assert_eq!(circuit(&channel), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn what_the_application_says_does_not_count() {
    let net = Net::new();
    let a = net.serve("a", Does::Fail(Code::NotFound));
    let channel = net.channel("breaker-codes", BREAKER, &["a"]);
    for code in [Code::NotFound, Code::ResourceExhausted, Code::Unimplemented, Code::Aborted, Code::Cancelled] {
        a.does(Does::Fail(code));
        for _ in 0..5 {
            call(&channel).await.unwrap_err();
        }
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn cancelled_calls_do_not_count() {
    let net = Net::new();
    let a = net.serve("a", Does::Hang);
    let channel = net.channel("breaker-cancelled", BREAKER, &["a"]);
    ready(&channel, 1).await;
    for _ in 0..10 {
        assert!(tokio::time::timeout(ms(5), call(&channel)).await.is_err());
    }
    a.does(Does::Stream(ms(1)));
    for _ in 0..10 {
        let mut stream = server_stream(&channel, request()).await.unwrap();
        stream.message().await.unwrap();
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn failed_connects_do_not_count() {
    let net = Net::new();
    let channel = net.channel("breaker-connects", BREAKER, &["a"]);
    for _ in 0..20 {
        let status = call(&channel).await.unwrap_err();
        assert!(!status.message().contains("circuit"), "{status}");
        tokio::time::sleep(ms(300)).await;
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_ready_gets_the_place_of_a_cancelled_probe() {
    let net = Net::new();
    let (a, channel) = opened(&net, "breaker-probes", Does::Fail(Code::Unavailable)).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    a.does(Does::Hang);
    let path = "/test.Other/Get";
    let probes: Vec<_> = (0..3)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { unary(&channel, request(), path).await })
        })
        .collect();
    settle().await;
    assert_eq!(a.streams(), 3);
    let status = unary(&channel, request(), path).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "no fourth probe");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        let mut waits = request();
        waits.extensions_mut().insert(WaitForReady(true));
        async move { unary(&channel, waits, path).await }
    });
    settle().await;
    a.does(Does::Answer);
    // The callers let go: nothing is known of the server, and the places are free.
    probes.iter().for_each(tokio::task::JoinHandle::abort);
    let answer = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(answer.expect("it is not forgotten").unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_refused_is_given_back() {
    let net = Net::new();
    let (a, channel) = opened(&net, "breaker-refused", Does::Fail(Code::Unavailable)).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    a.does(Does::Refuse);
    for _ in 0..5 {
        call(&channel).await.unwrap_err();
    }
    a.does(Does::Answer);
    for _ in 0..3 {
        assert_eq!(call(&channel).await.unwrap(), "a");
    }
    assert_eq!(circuit(&channel), Circuit::Closed);
}

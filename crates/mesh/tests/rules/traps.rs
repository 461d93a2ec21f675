//! The correctness traps, as a whole channel meets them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meshwork::observe::Circuit;
use tonic::Code;
use tower::Service as _;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, call, ms, request, server_stream, settle};

const STRICT: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}],
    "meshwork": {"circuitBreaker": {"maxOpenPercent": 100, "consecutiveFailures": 1}}}"#;

#[tokio::test(start_paused = true)]
async fn trap_1_a_clone_that_was_never_asked_takes_calls() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("trap-1", "{}", &["a"]);
    for _ in 0..3 {
        let mut clone = channel.clone();
        let request = http::Request::builder().method("POST").uri(crate::support::PATH);
        let response = clone.call(request.body(tonic::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn trap_2_a_body_that_is_dropped_midway_is_neither_failure_nor_success() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(10)));
    let policy = r#"{"meshwork": {"circuitBreaker": {"maxOpenPercent": 100, "consecutiveFailures": 3}}}"#;
    let channel = net.channel("trap-2", policy, &["a"]);
    let failing = |does: Does| {
        a.does(does);
        call(&channel)
    };
    failing(Does::Fail(Code::Internal)).await.unwrap_err();
    failing(Does::Fail(Code::Internal)).await.unwrap_err();
    a.does(Does::Stream(ms(10)));
    let mut stream = server_stream(&channel, request()).await.unwrap();
    stream.message().await.unwrap();
    assert_eq!(channel.endpoints()[0].in_flight, 1, "until the end, not until the headers");
    drop(stream);
    assert_eq!(channel.endpoints()[0].in_flight, 0);
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed, "no failure");
    failing(Does::Fail(Code::Internal)).await.unwrap_err();
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Open, "no success either");
}

#[tokio::test(start_paused = true)]
async fn trap_3_trailers_only_is_a_failure() {
    let net = Net::new();
    let _a = net.serve("a", Does::Fail(Code::Unknown));
    let channel = net.channel("trap-3", STRICT, &["a"]);
    call(&channel).await.unwrap_err();
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn trap_4_what_a_cancelled_call_held_is_given_back() {
    let net = Net::new();
    let a = net.serve_with("a", Does::Fail(Code::Internal), 4);
    let policy = r#"{"meshwork": {"maxConcurrentRequests": 4, "circuitBreaker":
        {"consecutiveFailures": 1, "openFor": "1s", "probes": 2}}}"#;
    let channel = net.channel("trap-4", policy, &["a"]);
    call(&channel).await.unwrap_err();
    tokio::time::sleep(ms(1100)).await;
    a.does(Does::Hang);
    for round in 0..50_u64 {
        let time = Duration::from_micros(100 * (round % 12));
        assert!(tokio::time::timeout(time, call(&channel)).await.is_err());
    }
    settle().await;
    assert_eq!((a.streams(), channel.endpoints()[0].in_flight), (0, 0));
    a.does(Does::Answer);
    call(&channel).await.unwrap();
    call(&channel).await.unwrap();
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn trap_6_a_connection_that_is_lost_between_picks_costs_no_call() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let _b = net.serve("b", Does::Answer);
    let channel = net.channel("trap-6", r#"{"loadBalancingConfig": [{"round_robin": {}}]}"#, &["a", "b"]);
    ready(&channel, 2).await;
    for round in 0..20 {
        net.memory.cut(["a", "b"][round % 2]);
        // The connection has heard of it; who picks has not.
        tokio::task::yield_now().await;
        call(&channel).await.unwrap();
        call(&channel).await.unwrap();
        // A server that ends its connections more often is taken for one that is broken.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn trap_6_endpoints_that_leave_while_they_are_picked_cost_no_call() {
    let net = Net::new();
    let _servers: Vec<_> = ["a", "b", "c"].iter().map(|name| net.serve(name, Does::AnswerAfter(ms(2)))).collect();
    let names = Names::new(&["a", "b", "c"]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///trap-6-leave").unwrap();
    ready(&channel, 3).await;
    let mut calls = tokio::task::JoinSet::new();
    for round in 0..100 {
        names.set([&["a"][..], &["b", "a"], &["c", "b"], &["a", "b", "c"]][round % 4]);
        for _ in 0..5 {
            let channel = channel.clone();
            calls.spawn(async move { call(&channel).await });
        }
        settle().await;
    }
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn trap_7_one_seed_is_one_sequence_of_picks() {
    let mut sequences = Vec::new();
    for _ in 0..2 {
        let net = Net::new();
        let _servers: Vec<_> = ["a", "b", "c"].iter().map(|name| net.serve(name, Does::Answer)).collect();
        let policy = r#"{"loadBalancingConfig": [{"least_request_experimental": {}}]}"#;
        let channel = net.channel("trap-7", policy, &["a", "b", "c"]);
        ready(&channel, 3).await;
        for _ in 0..50 {
            call(&channel).await.unwrap();
        }
        sequences.push(net.seen().into_iter().map(|seen| seen.server).collect::<Vec<_>>());
    }
    assert_eq!(sequences[0], sequences[1]);
}

struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn trap_8_waiting_does_not_spin() {
    let net = Net::new();
    net.memory.hang("a");
    let mut channel = net.channel("trap-8", STRICT, &["a"]);
    let wakes = Arc::new(Wakes(0.into()));
    let waker = Arc::clone(&wakes).into();
    let mut context = Context::from_waker(&waker);
    assert!(channel.poll_ready(&mut context).is_ready());
    let mut calling = Box::pin(call(&channel));
    for _ in 0..100 {
        assert!(matches!(calling.as_mut().poll(&mut context), Poll::Pending));
        tokio::time::sleep(ms(100)).await;
    }
    let wakes = wakes.0.load(std::sync::atomic::Ordering::SeqCst);
    assert!(wakes < 10, "{wakes} wakes in 10 s");
}

#[tokio::test(start_paused = true)]
async fn trap_8_the_channel_rests_while_nothing_happens() {
    let net = Net::new();
    let _a = net.serve("a", Does::Fail(Code::Internal));
    let channel = net.channel("trap-8-rest", STRICT, &["a"]);
    call(&channel).await.unwrap_err();
    settle().await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.worker_park_count(0);
    // The circuit is open, and half-opens by itself; nobody calls. A runtime that has nothing to do rests.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let rests = metrics.worker_park_count(0) - before;
    assert!(rests < 20, "{rests} times was there something to do");
    assert_eq!(channel.endpoints()[0].circuit, Circuit::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn trap_10_a_policy_with_huge_numbers_overflows_nothing() {
    let net = Net::new();
    let _a = net.serve("a", Does::Fail(Code::Unavailable));
    let policy = r#"{"methodConfig": [{"name": [{}], "timeout": "315576000000s", "retryPolicy":
        {"maxAttempts": 5, "initialBackoff": "315576000000s", "maxBackoff": "315576000000s",
         "backoffMultiplier": 1e300, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#;
    let channel = net.channel("trap-10", policy, &["a"]);
    let waited = tokio::time::timeout(Duration::from_secs(3600), call(&channel)).await;
    assert!(waited.is_err() || waited.is_ok_and(|answer| answer.is_err()), "no panic");
    assert_eq!(net.count("a"), 1);
}

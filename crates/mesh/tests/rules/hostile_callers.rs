//! Callers of a shared channel that are broken or mean harm: other callers must not notice.

use std::time::Duration;

use meshwork::WaitForReady;
use meshwork::observe::Circuit;
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tower_service::Service as _;

use crate::a6_retry::ready;
use crate::support::{Does, Net, PATH, call, client_stream, ms, request, server_stream, settle, unary};

/// How long a test waits for what would never come.
const BOUND: Duration = Duration::from_secs(60);

const STRICT: &str = r#"{"meshwork": {"circuitBreaker":
    {"maxOpenPercent": 100, "consecutiveFailures": 1, "openFor": "1s", "probes": 2}}}"#;

/// As a gateway does that passes on all the headers that it got.
#[tokio::test(start_paused = true)]
async fn the_content_length_of_another_request_is_not_sent() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("hostile-length", STRICT, &["a"]);
    let mut one = request();
    one.metadata_mut().insert("content-length", "1".parse().unwrap());
    assert_eq!(unary(&channel, one, PATH).await.unwrap(), "a");
    assert_eq!(net.seen()[0].header("content-length"), None);
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_path_counts_as_a_header_and_one_that_no_server_takes_is_not_sent() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let mut channel = net.channel("hostile-path", STRICT, &["a"]);
    let long = http::Request::post(format!("/test.Users/{}", "x".repeat(60_000)));
    let long = long.header("x-more", "y".repeat(8_000)).body(Body::empty()).unwrap();
    assert_eq!(channel.call(long).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!((net.count("a"), channel.endpoints()[0].circuit), (0, Circuit::Closed));
    call(&channel).await.unwrap();
}

/// Calls without a deadline that the server never answers, as those that watch something, are its probes.
#[tokio::test(start_paused = true)]
async fn probes_that_hang_do_not_keep_a_server_that_is_back_from_others() {
    let net = Net::new();
    let a = net.serve("a", Does::Fail(Code::Internal));
    let channel = net.channel("hostile-probes", STRICT, &["a"]);
    call(&channel).await.unwrap_err();
    tokio::time::sleep(ms(1100)).await;
    a.does(Does::Hang);
    for _ in 0..2 {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel).await });
    }
    settle().await;
    assert_eq!((a.streams(), channel.endpoints()[0].circuit), (2, Circuit::HalfOpen));
    a.does(Does::Answer);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable, "all probes are under way");
    let mut waiting = request();
    waiting.extensions_mut().insert(WaitForReady(true));
    assert_eq!(timeout(BOUND, unary(&channel, waiting, PATH)).await.expect("no hang").unwrap(), "a");
    call(&channel).await.unwrap();
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn thousands_that_wait_and_then_give_up_leave_the_place_to_others() {
    let net = Net::new();
    let a = net.serve_with("a", Does::Stream(ms(1000)), 1);
    let channel = net.channel("hostile-waiters", "{}", &["a"]);
    let first = server_stream(&channel, request()).await.unwrap();
    a.does(Does::Answer);
    let mut waiting = Vec::new();
    for _ in 0..3000 {
        let mut one = Box::pin(call(&channel));
        assert!(futures_util::poll!(&mut one).is_pending());
        waiting.push(Some(one));
    }
    let mut last = Box::pin(call(&channel));
    assert!(futures_util::poll!(&mut last).is_pending());
    waiting.iter_mut().skip(1).step_by(2).for_each(|one| drop(one.take()));
    drop(first);
    settle().await;
    drop(waiting);
    assert_eq!(timeout(BOUND, last).await.expect("no hang").unwrap(), "a");
    assert_eq!(call(&channel).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_is_its_callers_and_ends_one_stream() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("hostile-panic", STRICT, &["a"]);
    ready(&channel, 1).await;
    let messages = futures_util::stream::once(async {
        tokio::time::sleep(ms(10)).await;
        Vec::<Vec<u8>>::new().pop().expect("a body that panics")
    });
    let status = timeout(BOUND, client_stream(&channel, messages)).await.expect("no hang").unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
    call(&channel).await.unwrap();
    assert_eq!(net.memory.connects("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_shortest_and_the_longest_deadlines_hold() {
    let net = Net::new();
    let a = net.serve("a", Does::Hang);
    let channel = net.channel("hostile-deadlines", STRICT, &["a"]);
    ready(&channel, 1).await;
    let with = async |timeout: &'static str| {
        let mut one = request();
        one.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        unary(&channel, one, PATH).await.map_err(|status| status.code())
    };
    for short in ["0n", "1n", "0H"] {
        assert_eq!(with(short).await, Err(Code::DeadlineExceeded), "{short}");
    }
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
    a.does(Does::Answer);
    assert_eq!(with("99999999H").await, Ok("a".to_owned()));
    assert_eq!(with("123456789S").await, Err(Code::Internal), "nine digits");
}

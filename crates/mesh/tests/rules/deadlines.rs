//! Deadlines over everything that a call waits for.

use std::time::Duration;

use meshwork::WaitForReady;
use meshwork::deadline;
use meshwork::resolve::{Resolution, ResolveError, Resolver};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::a6_retry::{RETRY, ready};
use crate::support::{Does, Net, PATH, call, ms, request, server_stream, settle, unary};

fn within(time: Duration) -> Request<Vec<u8>> {
    let mut request = request();
    request.set_timeout(time);
    request
}

fn assert_in_time(net: &Net, before: Duration, status: &Status) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let took = net.now() - before;
    assert!(took >= ms(200) && took <= ms(203), "{took:?}");
}

struct Silent;

#[async_trait::async_trait]
impl Resolver for Silent {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_resolving() {
    let net = Net::new();
    let channel = net.builder("{}").resolver(Silent).connect_lazy("test:///deadline-resolve").unwrap();
    let before = net.now();
    assert_in_time(&net, before, &unary(&channel, within(ms(200)), PATH).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_connecting() {
    let net = Net::new();
    net.memory.hang("a");
    let channel = net.channel("deadline-connect", "{}", &["a"]);
    let before = net.now();
    assert_in_time(&net, before, &unary(&channel, within(ms(200)), PATH).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_waiting_for_ready() {
    let net = Net::new();
    let channel = net.channel("deadline-ready", "{}", &["a"]);
    let mut request = within(ms(200));
    request.extensions_mut().insert(WaitForReady(true));
    let before = net.now();
    assert_in_time(&net, before, &unary(&channel, request, PATH).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_waiting_for_a_stream() {
    let net = Net::new();
    let _a = net.serve_with("a", Does::Hang, 1);
    let channel = net.channel("deadline-queue", "{}", &["a"]);
    ready(&channel, 1).await;
    let held = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    settle().await;
    let before = net.now();
    assert_in_time(&net, before, &unary(&channel, within(ms(200)), PATH).await.unwrap_err());
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_over_the_life_of_a_stream() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(30)));
    let channel = net.channel("deadline-stream", "{}", &["a"]);
    ready(&channel, 1).await;
    for every in [ms(30), Duration::from_secs(3600), ms(1)] {
        a.does(Does::Stream(every));
        let before = net.now();
        let mut stream = server_stream(&channel, within(ms(200))).await.unwrap();
        let status = loop {
            match stream.message().await {
                Ok(message) => assert!(message.is_some()),
                Err(status) => break status,
            }
        };
        assert_in_time(&net, before, &status);
        settle().await;
        assert_eq!(a.streams(), 0, "and the server is told");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_incoming_call_goes_to_outgoing_ones() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let channel = net.channel("deadline-budget", "{}", &["a"]);
    ready(&channel, 1).await;
    let before = net.now();
    let status = deadline::scope(Instant::now() + ms(200), call(&channel)).await.unwrap_err();
    assert_in_time(&net, before, &status);
    // Its own, if that is shorter; the scope's, if not.
    let later = Instant::now() + Duration::from_secs(10);
    let before = net.now();
    let status = deadline::scope(later, unary(&channel, within(ms(200)), PATH)).await.unwrap_err();
    assert_in_time(&net, before, &status);
    let told: Vec<_> = net.seen().iter().map(|seen| seen.header("grpc-timeout").unwrap().to_owned()).collect();
    assert_eq!(told.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_server_is_told_what_is_left() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    a.first([Does::FailAfter(ms(300), Code::Unavailable)]);
    let policy = RETRY.replacen(r#""retryPolicy""#, r#""timeout": "1s", "retryPolicy""#, 1);
    let channel = net.channel("deadline-left", &policy, &["a"]);
    ready(&channel, 1).await;
    call(&channel).await.unwrap();
    let left: Vec<_> = net
        .seen()
        .iter()
        .map(|seen| deadline::parse_timeout(&seen.header("grpc-timeout").unwrap().parse().unwrap()).unwrap())
        .collect();
    assert_eq!(left[0], Duration::from_secs(1));
    // Less 300 ms, and a backoff of 80 to 120 ms.
    assert!(left[1] >= ms(570) && left[1] <= ms(630), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_tells_none() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("deadline-none", "{}", &["a"]);
    call(&channel).await.unwrap();
    assert_eq!(net.seen()[0].header("grpc-timeout"), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_late_already_is_not_sent() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("deadline-late", "{}", &["a"]);
    ready(&channel, 1).await;
    let status = deadline::scope(Instant::now(), call(&channel)).await.unwrap_err();
    assert_eq!((status.code(), net.count("a")), (Code::DeadlineExceeded, 0));
}

#[tokio::test(start_paused = true)]
async fn trap_9_no_retry_is_waited_for_past_the_deadline() {
    let net = Net::new();
    let _a = net.serve("a", Does::Pushback(Code::Unavailable, "500"));
    let channel = net.channel("deadline-retry", RETRY, &["a"]);
    ready(&channel, 1).await;
    let before = net.now();
    let status = unary(&channel, within(ms(200)), PATH).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "the last status");
    assert_eq!(net.now(), before, "at once");
}

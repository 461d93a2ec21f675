//! Retries (gRFC A6) as the channel makes them.

use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions, ServiceDescriptorProto,
};
use tonic::{Code, Request};

use crate::support::{Does, Names, Net, call, codec, ms, request, server_stream, settle, unary};

pub const RETRY: &str = r#"{"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "retryPolicy":
    {"maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
     "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#;

/// Connects to all before a test counts.
pub async fn ready(channel: &meshwork::Channel, servers: usize) {
    channel.wake();
    for _ in 0..300 {
        settle().await;
        let ready = channel.endpoints().iter().filter(|e| e.state == meshwork::observe::Connectivity::Ready).count();
        if ready == servers {
            return;
        }
    }
    panic!("{:?}", channel.endpoints());
}

#[tokio::test(start_paused = true)]
async fn a6_each_attempt_picks_again() {
    let net = Net::new();
    let _a = net.serve("a", Does::Fail(Code::Unavailable));
    let _b = net.serve("b", Does::Answer);
    let channel = net.channel("a6-repick", RETRY, &["a", "b"]);
    ready(&channel, 2).await;
    for _ in 0..10 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    assert!(net.count("a") >= 5, "the one that fails is picked too");
}

#[tokio::test(start_paused = true)]
async fn a6_the_server_sees_the_previous_attempts() {
    let net = Net::new();
    let _a = net.serve("a", Does::Fail(Code::Unavailable));
    let channel = net.channel("a6-previous", RETRY, &["a"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    let seen = net.seen();
    let previous: Vec<_> = seen.iter().map(|seen| seen.header("grpc-previous-rpc-attempts")).collect();
    assert_eq!(previous, [None, Some("1"), Some("2")]);
}

#[tokio::test(start_paused = true)]
async fn a6_the_throttle_is_shared_by_the_methods_of_a_target() {
    let net = Net::new();
    let server = net.serve("a", Does::Fail(Code::Unavailable));
    let policy = RETRY.replacen('{', r#"{"retryThrottling": {"maxTokens": 4, "tokenRatio": 1},"#, 1);
    let channel = net.channel("a6-throttle", &policy, &["a"]);
    // Tokens: 4, 3 (retried), 2 (not above half: not retried).
    unary(&channel, request(), "/test.Users/Get").await.unwrap_err();
    assert_eq!(net.count("a"), 2);
    unary(&channel, request(), "/test.Other/Put").await.unwrap_err();
    assert_eq!(net.count("a"), 3, "another method finds the tokens spent");
    // Successes fill it again: 1, 2, 3, 4.
    server.does(Does::Answer);
    for _ in 0..3 {
        call(&channel).await.unwrap();
    }
    net.forget();
    server.does(Does::Fail(Code::Unavailable));
    unary(&channel, request(), "/test.Other/Put").await.unwrap_err();
    assert_eq!(net.count("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a6_a_refused_stream_is_repeated_at_once_and_uncounted() {
    let net = Net::new();
    let server = net.serve("a", Does::Answer);
    server.first([Does::Refuse]);
    let channel = net.channel("a6-refused", "{}", &["a"]);
    let before = net.now();
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert!(net.now() - before < ms(50), "no backoff");
    assert_eq!(net.seen()[1].header("grpc-previous-rpc-attempts"), None);
}

#[tokio::test(start_paused = true)]
async fn a6_a_stream_refused_twice_falls_to_the_policy() {
    let net = Net::new();
    let server = net.serve("a", Does::Refuse);
    let channel = net.channel("a6-refused-twice", "{}", &["a"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(net.count("a"), 2);
    net.forget();
    server.does(Does::Refuse);
    let channel = net.channel("a6-refused-policy", RETRY, &["a"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(net.count("a"), 4, "one transparent, and three by the policy");
}

#[tokio::test(start_paused = true)]
async fn a6_goaway_below_the_stream_is_repeated_on_a_new_connection() {
    let net = Net::new();
    let _server = net.serve_after_goaway("a");
    let channel = net.channel("a6-goaway", "{}", &["a"]);
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert_eq!(net.memory.connects("a"), 2);
    assert_eq!(net.seen()[0].header("grpc-previous-rpc-attempts"), None);
}

#[tokio::test(start_paused = true)]
async fn a6_goaway_under_load_fails_no_call() {
    let net = Net::new();
    let server = net.serve("a", Does::AnswerAfter(ms(5)));
    let channel = net.channel("a6-goaway-load", "{}", &["a"]);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..400_u64 {
        let channel = channel.clone();
        calls.spawn(async move {
            tokio::time::sleep(ms(25 * number)).await;
            call(&channel).await
        });
    }
    // A server that goes more often than that is taken for one that is broken.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(2499)).await;
        server.go_away();
    }
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a6_headers_commit_the_call() {
    let net = Net::new();
    let _server = net.serve("a", Does::Trailers(Code::Unavailable));
    let channel = net.channel("a6-commit", RETRY, &["a"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(net.count("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a6_pushback_is_waited_exactly_and_a_negative_one_ends_it() {
    let net = Net::new();
    let server = net.serve("a", Does::Answer);
    server.first([Does::Pushback(Code::Unavailable, "2000")]);
    let channel = net.channel("a6-pushback", RETRY, &["a"]);
    assert_eq!(call(&channel).await.unwrap(), "a");
    let seen = net.seen();
    assert_eq!(seen[1].at - seen[0].at, Duration::from_secs(2));
    net.forget();
    server.first([Does::Pushback(Code::Unavailable, "-1")]);
    call(&channel).await.unwrap_err();
    assert_eq!(net.count("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a6_a_streaming_request_is_replayed() {
    let net = Net::new();
    let server = net.serve("a", Does::Answer);
    server.first([Does::FailAfter(ms(30), Code::Unavailable)]);
    let channel = net.channel("a6-replay", RETRY, &["a"]);
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let (send, messages) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
    tokio::spawn(async move {
        for number in 0..10_u8 {
            send.send(vec![number; 100]).await.unwrap();
            tokio::time::sleep(ms(10)).await;
        }
    });
    let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
    let path = PathAndQuery::from_static("/test.Users/Put");
    let answer = client.client_streaming(Request::new(messages), path, codec()).await.unwrap();
    assert_eq!(answer.into_inner(), b"a");
    // Each message: 5 bytes of framing, a tag, a length and 100 bytes.
    assert_eq!(net.seen()[1].body, 10 * 107);
}

#[tokio::test(start_paused = true)]
async fn a6_a_request_that_overflows_its_buffer_is_made_and_not_repeated() {
    let net = Net::new();
    let server = net.serve("a", Does::Answer);
    let names = Names::new(&["a"]);
    let channel =
        net.builder(RETRY).retry_buffers(100, 1000).resolver(names).connect_lazy("test:///a6-buffer").unwrap();
    let large = || Request::new(vec![1; 200]);
    assert_eq!(unary(&channel, large(), "/test.Users/Put").await.unwrap(), "a");
    server.first([Does::Fail(Code::Unavailable)]);
    net.forget();
    let status = unary(&channel, large(), "/test.Users/Put").await.unwrap_err();
    assert_eq!((status.code(), net.count("a")), (Code::Unavailable, 1));
}

#[tokio::test(start_paused = true)]
async fn a6_a_stuck_attempt_is_repeated_elsewhere() {
    let net = Net::new();
    let stuck = net.serve("a", Does::Hang);
    let _b = net.serve("b", Does::Answer);
    let policy = RETRY.replacen(r#""retryPolicy""#, r#""meshwork": {"attemptTimeout": "0.2s"}, "retryPolicy""#, 1);
    let channel = net.channel("a6-stuck", &policy, &["a", "b"]);
    ready(&channel, 2).await;
    for _ in 0..4 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    assert!(net.count("a") > 0);
    settle().await;
    assert_eq!(stuck.streams(), 0, "stuck attempts are cancelled at their server");
}

#[tokio::test(start_paused = true)]
async fn a6_the_attempt_timeout_begins_when_the_attempt_is_sent() {
    let net = Net::new();
    let policy = r#"{"methodConfig": [{"name": [{}], "waitForReady": true, "meshwork": {"attemptTimeout": "0.2s"}}],
        "meshwork": {"circuitBreaker": {"consecutiveFailures": 1}}}"#;
    net.memory.hang("a");
    let _a = net.serve("a", Does::AnswerAfter(ms(50)));
    let channel = net.channel("a6-attempt-timeout", policy, &["a"]);
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    tokio::time::sleep(ms(700)).await;
    net.memory.restore("a");
    assert_eq!(waiting.await.unwrap().unwrap(), "a", "waiting for a connection is not the server's fault");
    assert_eq!(channel.endpoints()[0].circuit, meshwork::observe::Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a6_a_reset_in_the_middle_of_a_response_is_not_repeated() {
    let net = Net::new();
    let _a = net.serve("a", Does::ResetMidway);
    let channel = net.channel("a6-midway", RETRY, &["a"]);
    let mut stream = server_stream(&channel, request()).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap(), b"a");
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    assert_eq!(net.count("a"), 1);
}

/// An encoded descriptor set in which the method of these tests has an `idempotency_level`.
fn declared(level: IdempotencyLevel) -> Vec<u8> {
    let options = MethodOptions { idempotency_level: Some(level.into()), ..MethodOptions::default() };
    let method =
        MethodDescriptorProto { name: Some("Get".into()), options: Some(options), ..MethodDescriptorProto::default() };
    let service = ServiceDescriptorProto {
        name: Some("Users".into()),
        method: vec![method],
        ..ServiceDescriptorProto::default()
    };
    let file =
        FileDescriptorProto { package: Some("test".into()), service: vec![service], ..FileDescriptorProto::default() };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

#[tokio::test(start_paused = true)]
async fn a6_methods_that_declare_to_have_no_side_effects_are_tried_three_times_by_default() {
    use IdempotencyLevel::{IdempotencyUnknown, Idempotent, NoSideEffects};
    for (level, attempts) in [(NoSideEffects, 3), (Idempotent, 1), (IdempotencyUnknown, 1)] {
        let net = Net::new();
        let _a = net.serve("a", Does::Fail(Code::Unavailable));
        let channel = net
            .builder("{}")
            .descriptors(declared(level))
            .resolver(Names::new(&["a"]))
            .connect_lazy("test:///a6-descriptors")
            .unwrap();
        assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(net.count("a"), attempts, "{level:?}");
    }
}

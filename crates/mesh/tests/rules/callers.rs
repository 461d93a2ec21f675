//! What a caller shortened, cancelled, withheld or sent wrong is charged to no server and never retried.

use std::time::Duration;

use meshwork::Channel;
use meshwork::observe::{Circuit, Event};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, call, client_stream, ms, request, server_stream, settle, unary};

/// A breaker that opens at the first failure, outlier detection that ejects for one, retries of everything.
const STRICT: &str = r#"{
    "loadBalancingConfig": [{"outlier_detection_experimental": {
        "interval": "0.5s", "baseEjectionTime": "60s", "maxEjectionPercent": 100,
        "failurePercentageEjection": {"threshold": 0, "minimumHosts": 1, "requestVolume": 1},
        "childPolicy": [{"meshwork_peak_ewma": {}}]}}],
    "methodConfig": [{"name": [{}], "retryPolicy": {
        "maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED",
            "CANCELLED"]}}],
    "meshwork": {"circuitBreaker": {"consecutiveFailures": 1, "openFor": "60s", "maxOpenPercent": 100}}}"#;

/// As `STRICT`, with a timeout of attempts.
fn with_attempt_timeout(timeout: &str) -> String {
    STRICT.replace(r#""retryPolicy""#, &format!(r#""meshwork": {{"attemptTimeout": "{timeout}"}}, "retryPolicy""#))
}

/// Nothing was charged: no open circuit, no ejection, no latency that drives calls away; and the call was sent once.
async fn uncharged(net: &Net, channel: &Channel, calls: usize) {
    tokio::time::sleep(ms(1100)).await;
    for endpoint in channel.endpoints() {
        assert_eq!((endpoint.circuit, endpoint.ejected), (Circuit::Closed, false), "{endpoint:?}");
        assert!(endpoint.latency < ms(20), "{endpoint:?}");
    }
    assert_eq!(net.seen().len(), calls, "none was sent again");
}

async fn strict(target: &str, does: Does) -> (Net, crate::support::Server, Channel) {
    let net = Net::new();
    let server = net.serve("a", does);
    let channel = net.channel(target, STRICT, &["a"]);
    ready(&channel, 1).await;
    (net, server, channel)
}

#[tokio::test(start_paused = true)]
async fn c6_a_deadline_that_the_caller_made_short_says_nothing_of_the_server() {
    let (net, _a, channel) = strict("callers-short", Does::Hang).await;
    for timeout in [5, 300, 850] {
        let mut short = request();
        short.set_timeout(ms(timeout));
        assert_eq!(unary(&channel, short, PATH).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
    uncharged(&net, &channel, 3).await;
}

#[tokio::test(start_paused = true)]
async fn c6_neither_does_one_that_the_server_keeps_for_the_caller() {
    let (net, _a, channel) = strict("callers-kept", Does::FailAfter(ms(200), Code::DeadlineExceeded)).await;
    for _ in 0..3 {
        let mut short = request();
        short.set_timeout(ms(205));
        assert_eq!(unary(&channel, short, PATH).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
    uncharged(&net, &channel, 3).await;
}

#[tokio::test(start_paused = true)]
async fn c6_a_stream_that_was_answered_may_end_by_its_deadline_however_long() {
    let (net, _a, channel) = strict("callers-watch", Does::Stream(ms(100))).await;
    for _ in 0..3 {
        let mut watch = request();
        watch.set_timeout(Duration::from_secs(5));
        let mut stream = server_stream(&channel, watch).await.unwrap();
        let error = loop {
            match stream.message().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::DeadlineExceeded);
    }
    uncharged(&net, &channel, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_does_speak_against_a_server_that_had_a_second_or_its_attempt_timeout() {
    let (_net, _a, channel) = strict("callers-silent", Does::Hang).await;
    let mut fair = request();
    fair.set_timeout(Duration::from_secs(1));
    assert_eq!(unary(&channel, fair, PATH).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Open);

    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let channel = net.channel("callers-silent-attempt", &with_attempt_timeout("0.1s"), &["a"]);
    ready(&channel, 1).await;
    let mut fair = request();
    fair.set_timeout(ms(100));
    assert_eq!(unary(&channel, fair, PATH).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn with_no_policy_and_deadlines_of_2_s_one_of_three_that_freezes_is_left_within_5_s() {
    let net = Net::new();
    let a = net.serve("a", Does::AnswerAfter(ms(1)));
    let _others = [net.serve("b", Does::AnswerAfter(ms(1))), net.serve("c", Does::AnswerAfter(ms(1)))];
    let channel = net.builder("{}").resolver(Names::new(&["a", "b", "c"])).connect_lazy("test:///frozen").unwrap();
    ready(&channel, 3).await;
    let calls = async |times: usize| {
        let mut under_way = tokio::task::JoinSet::new();
        for _ in 0..times {
            let channel = channel.clone();
            under_way.spawn(async move {
                let mut fair = request();
                fair.set_timeout(Duration::from_secs(2));
                unary(&channel, fair, PATH).await.is_err()
            });
            tokio::time::sleep(ms(5)).await;
        }
        under_way.join_all().await.into_iter().filter(|failed| *failed).count()
    };
    assert_eq!(calls(200).await, 0);
    a.does(Does::Hang);
    calls(600).await;
    net.forget();
    // From 5 s on.
    let failed = calls(400).await;
    assert!(failed <= 1 && net.count("a") <= 1, "{failed} failed, {} of 400 went to the frozen one", net.count("a"));
}

#[tokio::test(start_paused = true)]
async fn s17_a_request_that_does_not_come_is_its_callers_and_the_attempts_time_stands_still() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("callers-withheld", &with_attempt_timeout("0.1s"), &["a"]);
    ready(&channel, 1).await;
    let (send, messages) = mpsc::channel(1);
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { client_stream(&channel, ReceiverStream::new(messages)).await }
    });
    for _ in 0..5 {
        send.send(b"slowly".to_vec()).await.unwrap();
        tokio::time::sleep(ms(900)).await;
    }
    assert!(!call.is_finished());
    drop(send);
    assert_eq!(call.await.unwrap().unwrap(), "a");
    uncharged(&net, &channel, 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempts_time_counts_from_when_its_request_had_been_sent() {
    let net = Net::new();
    let a = net.serve("a", Does::Hang);
    let policy = r#"{"methodConfig": [{"name": [{}], "meshwork": {"attemptTimeout": "0.25s"}}]}"#;
    let channel = net.channel("callers-sent", policy, &["a"]);
    ready(&channel, 1).await;
    let (send, messages) = mpsc::channel(1);
    let before = net.now();
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { client_stream(&channel, ReceiverStream::new(messages)).await }
    });
    send.send(b"slowly".to_vec()).await.unwrap();
    tokio::time::sleep(ms(700)).await;
    drop(send);
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    let took = net.now() - before;
    assert!(took >= ms(950) && took < ms(1000), "{took:?}");
    drop(a);
}

#[tokio::test(start_paused = true)]
async fn s17_a_withheld_request_that_the_server_gives_up_is_not_charged_and_not_retried() {
    let (net, a, channel) = strict("callers-given-up", Does::FailEarly(Code::DeadlineExceeded)).await;
    let (send, messages) = mpsc::channel(1);
    send.send(b"first".to_vec()).await.unwrap();
    let status = client_stream(&channel, ReceiverStream::new(messages)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    uncharged(&net, &channel, 1).await;
    drop((send, a));
}

#[tokio::test(start_paused = true)]
async fn s17_nor_is_one_that_the_server_gives_up_or_answers_after_long() {
    let slow = Duration::from_secs(10);
    for does in [Does::FailAfter(slow, Code::DeadlineExceeded), Does::HeadersAfter(slow)] {
        let answered = matches!(does, Does::HeadersAfter(_));
        let (net, _a, channel) = strict(&format!("callers-late-{answered}"), does).await;
        let (send, messages) = mpsc::channel(1);
        send.send(b"first".to_vec()).await.unwrap();
        let result = client_stream(&channel, ReceiverStream::new(messages)).await;
        assert_eq!(result.is_ok(), answered, "{result:?}");
        uncharged(&net, &channel, 1).await;
        drop(send);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_a_deadline_was_exceeded_too_early_is_asked_again_if_the_policy_says_so() {
    let (net, a, channel) = strict("callers-own-timeout", Does::Answer).await;
    a.first([Does::FailAfter(ms(20), Code::DeadlineExceeded)]);
    assert_eq!(call(&channel).await.unwrap(), "a");
    uncharged(&net, &channel, 2).await;
}

#[tokio::test(start_paused = true)]
async fn c16_metadata_that_no_server_takes_is_not_sent() {
    let (net, _a, channel) = strict("callers-metadata", Does::Answer).await;
    let mut large = request();
    for _ in 0..140 {
        large.metadata_mut().append("x-long", "x".repeat(1000).parse().unwrap());
    }
    assert_eq!(unary(&channel, large, PATH).await.unwrap_err().code(), Code::ResourceExhausted);
    uncharged(&net, &channel, 0).await;
}

#[tokio::test(start_paused = true)]
async fn cancelled_calls_reach_neither_breaker_nor_outliers_nor_balancer() {
    let (net, _a, channel) = strict("callers-cancelled", Does::Hang).await;
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_secs(30), call(&channel)).await.is_err());
    }
    uncharged(&net, &channel, 3).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_hedged_call_only_the_attempt_that_was_outrun_says_something() {
    let policy = r#"{"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": [{}], "hedgingPolicy": {
        "maxAttempts": 2, "hedgingDelay": "0.5s"}}]}"#;
    let net = Net::new();
    let servers = [net.serve("a", Does::Hang), net.serve("b", Does::Hang)];
    let channel = net.channel("callers-hedged", policy, &["a", "b"]);
    ready(&channel, 2).await;
    assert!(tokio::time::timeout(Duration::from_secs(30), call(&channel)).await.is_err(), "given up by its caller");
    let latency = || channel.endpoints().iter().map(|endpoint| endpoint.latency).max().unwrap();
    assert_eq!(latency(), Duration::ZERO);
    let names = ["a", "b"].map(|name| net.count(name));
    assert_eq!(names, [1, 1]);
    // One hangs on, the other answers: half of the calls are answered by their second attempt.
    servers[1].does(Does::Answer);
    for _ in 0..4 {
        call(&channel).await.unwrap();
    }
    assert!(latency() > ms(300), "{:?}", channel.endpoints());
}

/// A body that brings a message and then fails.
fn failing() -> tonic::body::Body {
    let frames = tokio_stream::iter([
        Ok(http_body::Frame::data(bytes::Bytes::from_static(&[0, 0, 0, 0, 1, 7]))),
        Err(tonic::Status::data_loss("the caller's file ended early")),
    ]);
    let slow = tokio_stream::StreamExt::throttle(frames, ms(10));
    tonic::body::Body::new(http_body_util::StreamBody::new(Box::pin(slow)))
}

async fn with_failing_body(channel: &Channel) -> tonic::Status {
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;
    let request = http::Request::post(PATH).body(failing()).unwrap();
    match channel.clone().call(request).await {
        Err(status) => status,
        Ok(response) => response.into_body().collect().await.unwrap_err(),
    }
}

#[tokio::test(start_paused = true)]
async fn c9_a_callers_own_error_is_what_it_gets_before_the_headers_and_after() {
    for does in [Does::Hang, Does::Stream(ms(1))] {
        let (net, _a, channel) = strict(&format!("callers-body-{does:?}"), does).await;
        for _ in 0..20 {
            let status = with_failing_body(&channel).await;
            assert_eq!((status.code(), status.message()), (Code::DataLoss, "the caller's file ended early"));
        }
        uncharged(&net, &channel, 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sent_wrong_by_http_is_the_callers() {
    for (status, code) in [(431, Code::ResourceExhausted), (400, Code::Internal), (413, Code::Unknown)] {
        let (net, _a, channel) = strict(&format!("callers-http-{status}"), Does::Http(status)).await;
        assert_eq!(call(&channel).await.unwrap_err().code(), code);
        uncharged(&net, &channel, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c16_headers_or_trailers_that_are_too_large_end_one_call_and_no_connection() {
    const KIB: usize = 1 << 10;
    let long = [
        Does::LongHeaders(Code::NotFound, 70 * KIB),
        Does::LongHeaders(Code::NotFound, 300 * KIB),
        Does::LongHeaders(Code::NotFound, 2000 * KIB),
        Does::LongTrailers(70 * KIB),
        Does::LongTrailers(2000 * KIB),
    ];
    for (number, does) in long.into_iter().enumerate() {
        let (net, a, channel) = strict(&format!("callers-long-{number}"), Does::Stream(ms(10))).await;
        let mut neighbour = server_stream(&channel, request()).await.unwrap();
        neighbour.message().await.unwrap();
        a.does(does.clone());
        let status = call(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{does:?}: {status}");
        neighbour.message().await.unwrap();
        uncharged(&net, &channel, 2).await;
        assert_eq!(net.memory.connects("a"), 1, "{does:?}");
    }
    // By default what gRPC servers send fits: 64 KiB.
    let (_net, _a, channel) = strict("callers-fits", Does::LongHeaders(Code::NotFound, 60 * KIB)).await;
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::NotFound);
    // By option, more or less.
    for (limit, code) in [(8 << 10, Code::ResourceExhausted), (128 << 10, Code::NotFound)] {
        let net = Net::new();
        let _a = net.serve("a", Does::LongHeaders(Code::NotFound, 60 * KIB));
        let builder = net.builder("{}").http2_max_header_list_size(limit).resolver(Names::new(&["a"]));
        let channel = builder.connect_lazy("test:///callers-limit").unwrap();
        assert_eq!(call(&channel).await.unwrap_err().code(), code);
    }
}

#[tokio::test(start_paused = true)]
async fn c25_a_message_above_a_limit_of_the_channel_is_charged_to_no_server_and_not_sent_again() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let builder = net.builder(STRICT).max_decoding_message_size(2).resolver(Names::new(&["a"]));
    let channel = builder.connect_lazy("test:///callers-decoding").unwrap();
    ready(&channel, 1).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("max_decoding_message_size"), "{status}");
    uncharged(&net, &channel, 1).await;
    net.forget();
    let builder = net.builder(STRICT).max_encoding_message_size(4).resolver(Names::new(&["a"]));
    let channel = builder.connect_lazy("test:///callers-encoding").unwrap();
    ready(&channel, 1).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("max_encoding_message_size"), "{status}");
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
    assert!(net.seen().len() <= 1, "not sent again");
}

#[tokio::test(start_paused = true)]
async fn observers_learn_that_it_was_the_caller() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&outcomes);
    let observer = move |event: &Event<'_>| {
        if let Event::AttemptEnded { outcome, .. } = event {
            seen.lock().unwrap().push(*outcome);
        }
    };
    let builder = net.builder("{}").observer(observer).resolver(Names::new(&["a"]));
    let channel = builder.connect_lazy("test:///callers-observed").unwrap();
    let mut short = request();
    short.set_timeout(ms(20));
    unary(&channel, short, PATH).await.unwrap_err();
    settle().await;
    assert_eq!(*outcomes.lock().unwrap(), [meshwork::outcome::Outcome::Caller(Code::DeadlineExceeded)]);
}

//! What a call tells about itself.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use meshwork::CallTrace;
use meshwork::observe::Event;
use meshwork::trace::{CallReport, Cause, Why};
use tonic::{Code, Status};
use tracing::field::{Field, Visit};

use crate::a6_retry::{RETRY, ready};
use crate::support::{Does, Names, Net, PATH, call, ms, request, server_stream, settle, unary};

pub fn why(status: &Status) -> CallReport {
    let source = std::error::Error::source(status).expect("a source");
    source.downcast_ref::<Why>().expect("why").report.clone()
}

#[tokio::test(start_paused = true)]
async fn the_source_of_a_status_of_the_mesh_tells_its_attempts() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    net.memory.hang("a");
    let channel = net.channel("why", "{}", &["a"]);
    let mut request = request();
    request.set_timeout(ms(200));
    let status = unary(&channel, request, PATH).await.unwrap_err();
    let report = why(&status);
    assert_eq!((&*report.method, &*report.target), (PATH, "test:///why"));
    assert_eq!(report.timeout, Some(ms(200)));
    assert_eq!(report.code, Some(Code::DeadlineExceeded));
    assert_eq!(report.attempts.len(), 1);
    assert!(report.attempts[0].queued >= ms(200) && report.attempts[0].endpoint.is_none(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_the_source_of_the_source() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let channel = net.channel("why-broken", "{}", &["a"]);
    ready(&channel, 1).await;
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    settle().await;
    net.memory.cut("a");
    let status = calling.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let source = std::error::Error::source(&status).unwrap().downcast_ref::<Why>().unwrap();
    assert!(source.source.is_some(), "{status:?}");
    assert_eq!(source.report.attempts[0].endpoint.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn the_trace_of_a_call_that_succeeded_tells_its_attempts() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    a.first([Does::Refuse, Does::Fail(Code::Unavailable)]);
    let channel = net.channel("why-trace", RETRY, &["a"]);
    ready(&channel, 1).await;
    let trace = CallTrace::new();
    let mut request = request();
    request.extensions_mut().insert(trace.clone());
    unary(&channel, request, PATH).await.unwrap();
    let report = trace.report();
    assert_eq!(report.code, Some(Code::Ok));
    let told: Vec<_> = report.attempts.iter().map(|a| (a.cause, a.endpoint.as_deref(), a.code)).collect();
    assert_eq!(
        told,
        [
            (Cause::Call, Some("a"), Some(Code::Unavailable)),
            (Cause::Transparent, Some("a"), Some(Code::Unavailable)),
            (Cause::Retry, Some("a"), None),
        ]
    );
    assert!(report.attempts[2].backoff >= ms(80) && report.attempts[2].backoff <= ms(120), "{report}");
}

#[tokio::test(start_paused = true)]
async fn observers_are_told_in_order() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    a.first([Does::Fail(Code::Unavailable)]);
    let log = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&log);
    let channel = net
        .builder(RETRY)
        .resolver(Names::new(&["a"]))
        .observer(move |event: &Event<'_>| {
            let name = format!("{event:?}");
            let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
            told.lock().unwrap().push(name);
        })
        .connect_lazy("test:///why-order")
        .unwrap();
    ready(&channel, 1).await;
    let before = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(before[0], "Resolved");
    assert!(before.contains(&"EndpointChanged".to_owned()));
    call(&channel).await.unwrap();
    settle().await;
    let expected = [
        "CallStarted",
        "AttemptStarted",
        "Picked",
        "AttemptEnded",
        "RetryScheduled",
        "AttemptStarted",
        "Picked",
        "AttemptEnded",
        "CallEnded",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn observers_see_the_breaker_turn() {
    let net = Net::new();
    let a = net.serve("a", Does::Fail(Code::Internal));
    let log = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&log);
    let channel = net
        .builder(r#"{"meshwork": {"circuitBreaker": {"maxOpenPercent": 100, "consecutiveFailures": 2, "openFor": "1s", "probes": 1}}}"#)
        .resolver(Names::new(&["a"]))
        .observer(move |event: &Event<'_>| {
            if let Event::CircuitChanged { endpoint, circuit } = event {
                told.lock().unwrap().push(format!("{endpoint} {circuit:?}"));
            }
        })
        .connect_lazy("test:///why-breaker")
        .unwrap();
    ready(&channel, 1).await;
    for _ in 0..2 {
        call(&channel).await.unwrap_err();
    }
    a.does(Does::Answer);
    tokio::time::sleep(ms(1100)).await;
    call(&channel).await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["a Open", "a HalfOpen", "a Closed"]);
}

#[tokio::test(start_paused = true)]
async fn each_event_of_an_endpoint_is_told_once() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    let log = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&log);
    let channel = net
        .builder("{}")
        .resolver(Names::new(&["a"]))
        .observer(move |event: &Event<'_>| {
            if let Event::EndpointChanged { state, .. } = event {
                told.lock().unwrap().push(format!("{state:?}"));
            }
        })
        .connect_lazy("test:///why-once")
        .unwrap();
    ready(&channel, 1).await;
    a.kill().await;
    tokio::time::sleep(ms(100)).await;
    let log = log.lock().unwrap().clone();
    assert_eq!(log, ["Connecting", "Ready", "Connecting", "TransientFailure"], "{log:?}");
}

struct Lines(Mutex<Vec<String>>);

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

/// The lines of all tests of this process. One subscriber for all threads: what one thread alone hears of may be cached as
/// heard by none while others run.
static LINES: LazyLock<Arc<Lines>> = LazyLock::new(|| {
    let lines = Arc::new(Lines(Mutex::default()));
    tracing::subscriber::set_global_default(Subscriber(Arc::clone(&lines))).unwrap();
    lines
});

/// What was logged of the calls to a target.
fn lines_of(target: &str) -> Vec<String> {
    let lines = LINES.0.lock().unwrap();
    lines.iter().filter(|line| line.contains(target)).cloned().collect()
}

#[derive(Clone)]
struct Subscriber(Arc<Lines>);

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "meshwork::call"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.0.lock().unwrap().push(format!("{}{}", event.metadata().level(), line.0));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn slow_and_failed_calls_are_told_in_an_event() {
    LazyLock::force(&LINES);
    let net = Net::new();
    let a = net.serve("a", Does::AnswerAfter(ms(1500)));
    let channel = net.channel("why-event", "{}", &["a"]);
    ready(&channel, 1).await;
    call(&channel).await.unwrap();
    a.does(Does::Fail(Code::Internal));
    call(&channel).await.unwrap_err();
    a.does(Does::Answer);
    call(&channel).await.unwrap();
    let lines = lines_of("why-event");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("INFO") && lines[0].contains("slow call") && lines[0].contains(PATH), "{lines:#?}");
    assert!(lines[1].starts_with("DEBUG") && lines[1].contains("Internal"), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn c20_a_stream_is_slow_by_its_first_message_however_long_it_lasts() {
    LazyLock::force(&LINES);
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(500)));
    let channel = net.channel("why-long", "{}", &["a"]);
    ready(&channel, 1).await;
    // Let go by its caller, and ended by its deadline.
    let mut stream = server_stream(&channel, request()).await.unwrap();
    for _ in 0..10 {
        stream.message().await.unwrap().unwrap();
    }
    drop(stream);
    let mut short = request();
    short.set_timeout(ms(3000));
    let mut stream = server_stream(&channel, short).await.unwrap();
    while stream.message().await.is_ok() {}
    let slow = || lines_of("why-long").into_iter().filter(|line| line.contains("slow call")).collect::<Vec<_>>();
    assert_eq!(slow(), Vec::<String>::new());
    // One whose first message is late is slow, and the line says when that came.
    a.does(Does::HeadersAfter(ms(1500)));
    let mut stream = server_stream(&channel, request()).await.unwrap();
    while stream.message().await.unwrap().is_some() {}
    let slow = slow();
    assert!(slow.len() == 1 && slow[0].contains("first_message=1.5"), "{slow:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_trace_follows_a_stream_to_its_end() {
    let net = Net::new();
    let _a = net.serve("a", Does::Stream(ms(10)));
    let channel = net.channel("why-stream", "{}", &["a"]);
    let trace = CallTrace::new();
    let mut request = request();
    request.extensions_mut().insert(trace.clone());
    let stream = server_stream(&channel, request).await.unwrap();
    assert_eq!((trace.report().code, trace.report().attempts.len()), (None, 1));
    drop(stream);
    assert_eq!(trace.report().code, Some(Code::Cancelled));
}

//! A channel over servers in memory, on paused time: what becomes of calls that wait, and of what they hold.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::body::Body;

use super::*;
use crate::client::balance::{Candidate, PickArgs, Picker};
use crate::client::connect::{Connector, Memory, MemoryListener};
use crate::client::endpoint::{Address, Endpoint};
use crate::client::resolve::{Resolution, ResolveError, Resolver};
use crate::observe::{Circuit, Event};
use crate::transport::Io;

/// The name of a server, and a call that it has not answered.
type OpenCall = (String, SendResponse<Bytes>);

/// Servers, and the calls that they leave open.
#[derive(Clone, Default)]
struct Net {
    memory: Memory,
    open_calls: Arc<Mutex<Vec<OpenCall>>>,
    resets: Arc<AtomicUsize>,
}

impl Net {
    fn serve(&self, name: &str, streams: u32) {
        let listener = self.memory.listen(name).unwrap();
        tokio::spawn(self.clone().accept(name.to_owned(), listener, streams));
    }

    async fn accept(self, name: String, mut listener: MemoryListener, streams: u32) {
        while let Some(io) = listener.accept().await {
            let (net, name) = (self.clone(), name.clone());
            tokio::spawn(async move {
                let mut server =
                    h2::server::Builder::new().max_concurrent_streams(streams).handshake::<_, Bytes>(io).await.unwrap();
                while let Some(Ok((request, respond))) = server.accept().await {
                    net.answer(&name, request.uri().path(), respond);
                }
            });
        }
    }

    fn answer(&self, name: &str, path: &str, mut respond: SendResponse<Bytes>) {
        let headers = Response::builder().header("content-type", "application/grpc");
        match path {
            "/t/hold" => self.open_calls.lock().unwrap().push((name.to_owned(), respond)),
            "/t/stream" => {
                let mut stream = respond.send_response(headers.body(()).unwrap(), false).unwrap();
                let resets = Arc::clone(&self.resets);
                tokio::spawn(async move {
                    if poll_fn(|cx| stream.poll_reset(cx)).await.is_ok() {
                        resets.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            "/t/fail" => {
                respond.send_response(headers.header("grpc-status", "14").body(()).unwrap(), true).unwrap();
            }
            _ => done(respond),
        }
    }

    /// Answers a call that a server left open.
    fn answer_open(&self, name: &str) {
        let mut calls = self.open_calls.lock().unwrap();
        let index = calls.iter().position(|(server, _)| server == name).unwrap();
        done(calls.remove(index).1);
    }

    fn channel(&self, builder: Builder, target: &str) -> Channel {
        builder.connector(self.memory.clone()).connect_lazy(target).unwrap()
    }
}

fn done(mut respond: SendResponse<Bytes>) {
    let headers = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(headers, false).unwrap();
    stream.send_trailers(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), 0.into())])).unwrap();
}

fn request(path: &str) -> Request<Body> {
    Request::post(format!("http://t{path}")).body(Body::empty()).unwrap()
}

fn waiting(path: &str) -> Request<Body> {
    let mut request = request(path);
    request.extensions_mut().insert(WaitForReady(true));
    request
}

/// The code of a call, an hour at most.
async fn code(channel: &Channel, request: Request<Body>) -> Code {
    let call = async {
        match channel.clone().call(request).await {
            Err(status) => status.code(),
            Ok(response) => match crate::outcome::grpc_status(response.headers()) {
                Some(code) => code,
                None => match response.into_body().collect().await {
                    Ok(body) => body.trailers().and_then(crate::outcome::grpc_status).unwrap_or(Code::Unknown),
                    Err(status) => status.code(),
                },
            },
        }
    };
    timeout(Duration::from_secs(3600), call).await.expect("in time")
}

fn policy(json: &str) -> Builder {
    Channel::builder().policy(Policy::parse(json).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_waited_for_its_connection_has_its_whole_timeout() {
    let net = Net::default();
    let listener = net.memory.listen("10.0.0.1:1").unwrap();
    let builder = policy(r#"{"methodConfig":[{"name":[{}],"meshwork":{"attemptTimeout":"1s"}}]}"#);
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    let served = net.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(3)).await;
        served.accept("10.0.0.1:1".to_owned(), listener, 100).await;
    });
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_http2_refuses_fails_at_once() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let channel = net.channel(Channel::builder(), "static:///10.0.0.1:1");
    let mut request = request("/t/ok");
    request.headers_mut().insert("connection", "close".parse().unwrap());
    assert_eq!(code(&channel, request).await, Code::Internal);
    assert_eq!(code(&channel, self::request("/t/ok")).await, Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_room_of_any_endpoint_that_is_full() {
    for name in ["10.0.0.1:1", "10.0.0.2:1"] {
        let net = Net::default();
        net.serve("10.0.0.1:1", 1);
        net.serve("10.0.0.2:1", 1);
        let channel = net.channel(Channel::builder(), "static:///10.0.0.1:1,10.0.0.2:1");
        let mut holders = Vec::new();
        for _ in 0..2 {
            let channel = channel.clone();
            holders.push(tokio::spawn(async move { code(&channel, request("/t/hold")).await }));
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(net.open_calls.lock().unwrap().len(), 2);
        let queued = tokio::spawn(async move { code(&channel, request("/t/ok")).await });
        sleep(Duration::from_secs(1)).await;
        net.answer_open(name);
        sleep(Duration::from_secs(1)).await;
        assert!(queued.is_finished());
        assert_eq!(queued.await.unwrap(), Code::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_ready_takes_the_place_of_a_probe_that_was_cancelled() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let builder = policy(
        r#"{"meshwork":{"circuitBreaker":{"maxOpenPercent":100,"consecutiveFailures":1,"openFor":"10s","probes":1}}}"#,
    );
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    assert_eq!(code(&channel, request("/t/fail")).await, Code::Unavailable);
    sleep(Duration::from_secs(11)).await;
    let probe = channel.clone();
    let probe = tokio::spawn(async move { code(&probe, request("/t/hold")).await });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Unavailable);
    let queued = tokio::spawn(async move { code(&channel, waiting("/t/ok")).await });
    sleep(Duration::from_secs(1)).await;
    assert!(!queued.is_finished());
    probe.abort();
    sleep(Duration::from_secs(1)).await;
    assert!(queued.is_finished());
    assert_eq!(queued.await.unwrap(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn an_idle_channel_closes_its_connections_and_stays_idle() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let builder = Channel::builder().idle_timeout(Some(Duration::from_secs(60)));
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    let (one, other) = tokio::join!(code(&channel, request("/t/ok")), code(&channel, request("/t/ok")));
    assert_eq!((one, other), (Code::Ok, Code::Ok));
    assert_eq!(net.memory.open_connections("10.0.0.1:1"), 1);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(channel.state(), Connectivity::Idle);
    assert_eq!(net.memory.open_connections("10.0.0.1:1"), 0);
    assert_eq!(net.memory.connects("10.0.0.1:1"), 1);
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Ok);
}

/// Were it idle, its connection would be given up and begun anew each second, and never stand.
#[tokio::test(start_paused = true)]
async fn a_channel_is_not_idle_while_a_call_waits_for_its_connection() {
    let net = Net::default();
    let listener = net.memory.listen("10.0.0.1:1").unwrap();
    let builder = Channel::builder().idle_timeout(Some(Duration::from_secs(1)));
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    let served = net.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(10)).await;
        served.accept("10.0.0.1:1".to_owned(), listener, 100).await;
    });
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Ok);
    assert_eq!(net.memory.connects("10.0.0.1:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_within_a_response_resets_its_stream() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let channel = net.channel(policy(r#"{"methodConfig":[{"name":[{}],"timeout":"1s"}]}"#), "static:///10.0.0.1:1");
    let mut body = channel.clone().call(request("/t/stream")).await.unwrap().into_body();
    let ended = timeout(Duration::from_secs(60), body.frame()).await.unwrap();
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(net.resets.load(Ordering::SeqCst), 1);
    assert!(body.frame().await.is_none());
}

struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Resolver for Counting {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Resolution::new(vec![Endpoint::new(Address::Named("nobody".into()))]))
    }
}

#[tokio::test(start_paused = true)]
async fn a61_a_target_is_resolved_again_each_time_that_all_addresses_failed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let channel = Net::default().channel(Channel::builder().resolver(Counting(Arc::clone(&asked))), "dns:///t:1");
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Unavailable);
    sleep(Duration::from_secs(1800)).await;
    assert!(asked.load(Ordering::SeqCst) > 5, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn observers_see_once_each_attempt_circuit_and_endpoint() {
    let net = Net::default();
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&events);
    let note = move |event: &Event<'_>| {
        let said = match event {
            Event::AttemptStarted { .. } => "started".to_owned(),
            Event::AttemptEnded { endpoint, outcome, .. } => format!("ended {} {outcome:?}", endpoint.is_some()),
            Event::CircuitChanged { circuit, .. } => format!("{circuit:?}"),
            Event::EndpointChanged { state, .. } => format!("{state:?}"),
            _ => return,
        };
        log.lock().unwrap().push(said);
    };
    let builder =
        policy(r#"{"meshwork":{"circuitBreaker":{"maxOpenPercent":100,"consecutiveFailures":1}}}"#).observer(note);
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Unavailable);
    net.serve("10.0.0.1:1", 100);
    assert_eq!(code(&channel, waiting("/t/fail")).await, Code::Unavailable);
    let events = std::mem::take(&mut *events.lock().unwrap());
    let attempts: Vec<&str> =
        events.iter().filter(|said| said.ends_with("ed") || said.contains("ended")).map(String::as_str).collect();
    let none = "ended false Status(Unavailable)";
    assert_eq!(attempts, ["started", none, "started", "ended true Status(Unavailable)"], "{events:?}");
    let count = |what: &str| events.iter().filter(|said| *said == what).count();
    assert_eq!((count("Open"), count("Ready"), count("TransientFailure")), (1, 1, 1), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn probes_that_are_long_streams_do_not_keep_a_circuit_half_open() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let builder = policy(
        r#"{"meshwork":{"circuitBreaker":{"maxOpenPercent":100,"consecutiveFailures":1,"openFor":"10s","probes":1}}}"#,
    );
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    assert_eq!(code(&channel, request("/t/fail")).await, Code::Unavailable);
    sleep(Duration::from_secs(11)).await;
    let _stream = channel.clone().call(request("/t/stream")).await.unwrap();
    assert_eq!(code(&channel, request("/t/ok")).await, Code::Ok);
    assert_eq!(channel.endpoints()[0].circuit, Circuit::Closed);
}

/// Were it asked again and again, time would stand still and the test would not end.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_does_not_spin_when_there_is_room_where_it_may_not_go() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 1);
    let builder = policy(
        r#"{"meshwork":{"circuitBreaker":{"maxOpenPercent":100,"consecutiveFailures":1,"openFor":"10s","probes":1}}}"#,
    );
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    let holder = channel.clone();
    let holder = tokio::spawn(async move { code(&holder, request("/t/hold")).await });
    sleep(Duration::from_secs(1)).await;
    let queued = tokio::spawn(async move { code(&channel, waiting("/t/ok")).await });
    sleep(Duration::from_secs(1)).await;
    let (_, mut open) = net.open_calls.lock().unwrap().pop().unwrap();
    let failure = Response::builder().header("content-type", "application/grpc").header("grpc-status", "14");
    open.send_response(failure.body(()).unwrap(), true).unwrap();
    assert_eq!(holder.await.unwrap(), Code::Unavailable);
    sleep(Duration::from_secs(9)).await;
    assert!(!queued.is_finished());
    assert_eq!(queued.await.unwrap(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn each_of_several_observers_sees_every_event() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let counts: [Arc<AtomicUsize>; 3] = Default::default();
    let builder = counts.iter().fold(Channel::builder(), |builder, count| {
        let count = Arc::clone(count);
        builder.observer(move |event: &Event<'_>| {
            if let Event::CallStarted { .. } = event {
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    let channel = net.channel(builder, "static:///10.0.0.1:1");
    for _ in 0..2 {
        assert_eq!(code(&channel, request("/t/ok")).await, Code::Ok);
    }
    assert_eq!(counts.map(|count| count.load(Ordering::SeqCst)), [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn c2_a_channel_that_is_closed_while_its_runtime_ends_stays_closed() {
    let channel = Net::default().channel(Channel::builder(), "static:///10.0.0.1:1");
    channel.close();
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    // The last that a task does whose runtime ends.
    channel.0.state.park(Box::new(move |_: &tokio::runtime::Handle, _| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    assert_eq!(channel.state(), Connectivity::Shutdown);
    channel.wake();
    assert_eq!(code(&channel, waiting("/t/ok")).await, Code::Unavailable);
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

/// Counts the snapshots that it is made for.
struct CountingPicker(Arc<AtomicUsize>);

impl Picker for CountingPicker {
    fn pick(&self, _: &PickArgs<'_>, _: &[Candidate]) -> usize {
        0
    }

    fn rebuild(&self, _: &[Candidate]) -> Option<Arc<dyn Picker>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        None
    }
}

#[tokio::test(start_paused = true)]
async fn what_many_endpoints_do_at_once_is_in_few_snapshots() {
    let net = Net::default();
    let names: Vec<String> = (1..=100).map(|number| format!("10.0.0.{number}:1")).collect();
    names.iter().for_each(|name| net.serve(name, 100));
    let snapshots = Arc::new(AtomicUsize::new(0));
    let builder = Channel::builder().picker(CountingPicker(Arc::clone(&snapshots)));
    let channel = net.channel(builder, &format!("static:///{}", names.join(",")));
    channel.wake();
    sleep(Duration::from_secs(1)).await;
    let ready = channel.endpoints().iter().filter(|endpoint| endpoint.state == Connectivity::Ready).count();
    assert_eq!(ready, 100);
    let snapshots = snapshots.load(Ordering::SeqCst);
    assert!(snapshots < 50, "{snapshots} snapshots of 100 endpoints, each of which changed twice");
}

/// A connector that fails as no connector may.
struct PanickingConnector;

#[async_trait]
impl Connector for PanickingConnector {
    async fn connect(&self, _: &Address) -> std::io::Result<Box<dyn Io>> {
        panic!("a connector that panics")
    }
}

#[tokio::test(start_paused = true)]
async fn c2_calls_do_not_wait_for_a_server_whose_connector_or_observer_panicked() {
    let net = Net::default();
    net.serve("10.0.0.1:1", 100);
    let panics =
        |event: &Event<'_>| assert!(!matches!(event, Event::EndpointChanged { .. }), "an observer that panics");
    let target = "static:///10.0.0.1:1";
    for channel in [
        Channel::builder().connector(PanickingConnector).connect_lazy(target).unwrap(),
        net.channel(Channel::builder().observer(panics), target),
    ] {
        let call = timeout(Duration::from_secs(3600), channel.clone().call(request("/t/ok"))).await;
        let status = call.expect("no hang").unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("panicked"), "{status}");
        assert_eq!(channel.state(), Connectivity::TransientFailure);
    }
}

/// A resolver that fails as no resolver may.
struct Panics;

#[async_trait]
impl Resolver for Panics {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        panic!("a resolver that panics")
    }
}

#[tokio::test(start_paused = true)]
async fn c2_calls_fail_with_the_reason_when_the_task_of_the_channel_panicked() {
    let channel = Net::default().channel(Channel::builder().resolver(Panics), "test:///t");
    for request in [request("/t/ok"), waiting("/t/ok")] {
        let status = timeout(Duration::from_secs(3600), channel.clone().call(request)).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("panicked"), "{status}");
    }
}

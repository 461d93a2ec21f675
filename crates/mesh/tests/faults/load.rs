//! The channel under test, its calls, and a steady load of them.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::uri::PathAndQuery;
use meshwork::observe::Event;
use meshwork::policy::Policy;
use meshwork::{Builder, Channel, EndpointStatus, WaitForReady};
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::process::Server;
use crate::server::{STREAM, UNARY};

/// The longest that a test may take.
const BOUND: Duration = Duration::from_secs(20);
/// How long something may take to come about.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many calls may be under way at once.
pub const CALLS: usize = 1024;
/// Callers of a load, and their pause between calls.
const CALLERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(10);

/// The policy of the benchmark, with more time, as machines that run tests are busy.
pub fn policy() -> Policy {
    let json = include_str!("../../../../tests/bench/mesh/policy.json");
    let patient = json.replace(r#""timeout": "1s""#, r#""timeout": "4s""#).replace(r#""0.25s""#, r#""0.5s""#);
    assert_ne!(json, patient);
    let limited =
        patient.replace(r#""circuitBreaker""#, &format!(r#""maxConcurrentRequests": {CALLS}, "circuitBreaker""#));
    assert_ne!(patient, limited);
    Policy::parse(&limited).unwrap()
}

/// How often each endpoint was picked.
#[derive(Clone, Default)]
pub struct Picks(Arc<Mutex<HashMap<String, u64>>>);

impl Picks {
    pub fn of(&self, server: &Server) -> u64 {
        self.0.lock().unwrap().get(&server.name()).copied().unwrap_or_default()
    }
}

/// A channel to `servers` that was not used yet.
pub fn channel(builder: Builder, policy: Policy, servers: &[&Server]) -> (Channel, Picks) {
    let names: Vec<_> = servers.iter().map(|server| server.name()).collect();
    let picks = Picks::default();
    let seen = picks.clone();
    let observer = move |event: &Event<'_>| {
        if let Event::Picked { endpoint, .. } = event {
            *seen.0.lock().unwrap().entry((*endpoint).to_owned()).or_default() += 1;
        }
    };
    let target = format!("static:///{}", names.join(","));
    (builder.policy(policy).observer(observer).connect_lazy(&target).unwrap(), picks)
}

/// A channel to `servers` that is connected to each.
pub async fn connected(policy: Policy, servers: &[Server]) -> (Channel, Picks) {
    let (channel, picks) = channel(Channel::builder(), policy, &servers.iter().collect::<Vec<_>>());
    channel.wake();
    for server in servers {
        until("a server is connected", || status(&channel, server).is_some_and(|status| status.is_ready())).await;
    }
    (channel, picks)
}

pub trait Known {
    fn is_ready(&self) -> bool;
}

impl Known for EndpointStatus {
    fn is_ready(&self) -> bool {
        self.state == meshwork::observe::Connectivity::Ready
    }
}

/// How `server` is in the eyes of the channel.
pub fn status(channel: &Channel, server: &Server) -> Option<EndpointStatus> {
    channel.endpoints().into_iter().find(|endpoint| *endpoint.name == *server.name())
}

/// One call; the answer is the address of the server.
pub async fn unary(channel: &Channel) -> Result<String, Status> {
    send(channel, Request::new(String::new())).await
}

/// One call that waits while no endpoint can take it.
pub async fn unary_when_ready(channel: &Channel) -> Result<String, Status> {
    let mut request = Request::new(String::new());
    request.extensions_mut().insert(WaitForReady(true));
    send(channel, request).await
}

async fn send(channel: &Channel, request: Request<String>) -> Result<String, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    Ok(grpc.unary(request, PathAndQuery::from_static(UNARY), codec()).await?.into_inner())
}

/// A stream of `count` answers.
pub async fn stream(channel: &Channel, count: usize) -> Result<Streaming<String>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await?;
    let request = Request::new(count.to_string());
    Ok(grpc.server_streaming(request, PathAndQuery::from_static(STREAM), codec()).await?.into_inner())
}

pub fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

/// Calls without end, from a few callers.
pub struct Load {
    tally: Arc<Tally>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    answers: Mutex<HashMap<String, u64>>,
    failures: Mutex<Vec<String>>,
}

impl Load {
    pub fn on(channel: &Channel) -> Self {
        let tally = Arc::new(Tally::default());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (channel, tally) = (channel.clone(), Arc::clone(&tally));
            callers.spawn(async move {
                while !tally.over.load(Ordering::SeqCst) {
                    match unary(&channel).await {
                        Ok(server) => *tally.answers.lock().unwrap().entry(server).or_default() += 1,
                        Err(status) => tally.failures.lock().unwrap().push(explained(&status)),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { tally, callers }
    }

    /// How many calls were answered.
    pub fn answered(&self) -> u64 {
        self.tally.answers.lock().unwrap().values().sum()
    }

    /// How many calls `server` answered.
    pub fn answered_by(&self, server: &Server) -> u64 {
        self.tally.answers.lock().unwrap().get(&server.name()).copied().unwrap_or_default()
    }

    /// Waits until `count` more calls were answered.
    pub async fn more(&self, count: u64) {
        let goal = self.answered() + count;
        until("more calls are answered", || self.answered() >= goal).await;
    }

    /// Waits until `server` answered `count` more calls.
    pub async fn more_by(&self, server: &Server, count: u64) {
        let goal = self.answered_by(server) + count;
        until("more calls are answered by the server", || self.answered_by(server) >= goal).await;
    }

    /// Ends it; no call may have failed.
    pub async fn end_without_failure(mut self) {
        self.tally.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        let failures = self.tally.failures.lock().unwrap();
        assert_eq!(*failures, Vec::<String>::new(), "beside {} answers", self.answered());
        assert!(self.answered() >= 50, "{} calls are no load", self.answered());
    }
}

/// A status with what the mesh says about it.
pub fn explained(status: &Status) -> String {
    let why = std::error::Error::source(status).map(ToString::to_string).unwrap_or_default();
    format!("{:?}: {} [{why}]", status.code(), status.message())
}

/// Waits until something is so.
pub async fn until(what: &str, so: impl FnMut() -> bool) {
    assert!(comes(so).await, "not within {PATIENCE:?}: {what}");
}

/// Waits until something is so; whether it came about.
pub async fn comes(mut so: impl FnMut() -> bool) -> bool {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if so() {
            return true;
        }
        if tokio::time::Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test on a runtime of its own, for a bounded time.
pub fn bounded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(BOUND, test).await.expect("the test takes too long") });
    runtime.shutdown_background();
}

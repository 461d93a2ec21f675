//! Three servers, each a process of its own, that are restarted one after the other under load: nobody notices.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meshwork::observe::Connectivity;
use meshwork::policy::Policy;
use meshwork::server::Drain;
use meshwork::{Channel, Server};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{Echo, SLEEP, STREAM, UNARY, descriptors, stream, unary};

/// Where a process is to listen; without it, it is no server.
const LISTEN: &str = "MESHWORK_ROLLING_LISTEN";
const READY: &str = "listening";

/// Without a delay nobody is warned, and only GOAWAY tells clients; a stream that did not end at once would hold a server for
/// all of the grace.
const DRAIN: Drain = Drain { delay: Duration::ZERO, grace: Duration::from_secs(30), hooks: Duration::from_secs(1) };
/// How long something may take to come about on a busy machine; less than the grace.
const PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 2;
/// Callers of each kind.
const CALLERS: usize = 3;
/// Streams that are open at a time: by turns of the channel there are some on each server.
const STREAMS: usize = 6;

/// Not a test: the server, when this program was started to be one.
#[test]
fn process() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    std::thread::spawn(|| {
        // The test holds the other end: none outlives it.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(99);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
        let server = Server::builder().drain(DRAIN).descriptors(descriptors()).add_service(Echo::default());
        #[allow(clippy::print_stdout, reason = "the test waits for it")]
        {
            println!("\n{READY}");
        }
        server.serve(listener).await.unwrap();
    });
    std::process::exit(0);
}

/// A server in a process; it is killed when the value goes.
struct Node {
    address: SocketAddr,
    child: Child,
    /// Held, so that the server can write on.
    _lines: BufReader<ChildStdout>,
}

impl Node {
    /// One at an IP address of its own, so that no connection takes its port while it is away.
    fn start(number: u8) -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self::at((Ipv4Addr::new(127, high | 128, low, number), 50061).into())
    }

    fn at(address: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "rolling::process", "--nocapture"]).env(LISTEN, address.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim_end() != READY {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "a server ended before it listened");
        }
        Self { address, child, _lines: lines }
    }

    /// Asks it to stop, and returns its exit code.
    async fn stop(&mut self) -> Option<i32> {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end, so something holds it");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_ready(&self, channel: &Channel) -> bool {
        let name = self.address.to_string();
        channel.endpoints().iter().any(|endpoint| *endpoint.name == *name && endpoint.state == Connectivity::Ready)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What callers have seen.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    answers: AtomicU64,
    messages: AtomicU64,
    resumed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Seen {
    fn failed(&self, what: &str, status: &Status) {
        let why = std::error::Error::source(status).map(ToString::to_string).unwrap_or_default();
        self.failures.lock().unwrap().push(format!("{what}: {status} [{why}]"));
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }
}

/// Calls one after the other; a call is short, or is still in the handler when its server is asked to stop.
async fn call(channel: Channel, seen: Arc<Seen>) {
    while !seen.is_over() {
        for (path, said) in [(UNARY, "x"), (SLEEP, "40")] {
            match unary(&channel, path, said).await {
                Ok(_) => _ = seen.answers.fetch_add(1, Ordering::SeqCst),
                Err(status) => seen.failed(path, &status),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads a stream, and opens another whenever a server ends it because it stops.
async fn watch(channel: Channel, seen: Arc<Seen>) {
    while !seen.is_over() {
        let mut messages = match stream(&channel, STREAM, Request::new(String::new())).await {
            Ok(messages) => messages,
            Err(status) if is_farewell(&status) => continue,
            Err(status) => return seen.failed("a stream could not be opened", &status),
        };
        loop {
            match messages.message().await {
                Ok(Some(_)) => _ = seen.messages.fetch_add(1, Ordering::SeqCst),
                Ok(None) => return seen.failed("a stream ended", &Status::ok("")),
                Err(status) if is_farewell(&status) => break,
                Err(status) => return seen.failed("a stream failed", &status),
            }
            if seen.is_over() {
                return;
            }
        }
        seen.resumed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether a server says that it stops and another one should be asked.
fn is_farewell(status: &Status) -> bool {
    status.code() == Code::Unavailable
        && status.get_details_error_info().is_some_and(|info| info.reason == "SERVER_STOPPING")
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_three_servers_under_load_fails_no_call() {
    let mut nodes: Vec<_> = (1..=3).map(Node::start).collect();
    let target = nodes.iter().map(|node| node.address.to_string()).collect::<Vec<_>>().join(",");
    let channel =
        |policy: Policy| Channel::builder().policy(policy).connect_lazy(&format!("static:///{target}")).unwrap();
    // Of methods that may be repeated, and of methods that may not: a server that drains loses neither.
    let json = include_str!("../../../../tests/bench/mesh/policy.json").replace("bench.Echo", "test.Echo");
    // A busy machine must not be taken for a slow server.
    let repeats = json.replace(r#""timeout": "1s""#, r#""timeout": "20s""#).replace(r#""0.25s""#, r#""10s""#);
    assert_ne!(json, repeats);
    let channels = [channel(Policy::default()), channel(Policy::parse(&repeats).unwrap())];
    let seen = Arc::new(Seen::default());
    let mut callers = JoinSet::new();
    for channel in &channels {
        channel.wake();
        for node in &nodes {
            until("a server is connected", || node.is_ready(channel)).await;
        }
        for _ in 0..CALLERS {
            callers.spawn(call(channel.clone(), Arc::clone(&seen)));
        }
    }
    for _ in 0..STREAMS {
        callers.spawn(watch(channels[0].clone(), Arc::clone(&seen)));
    }
    for _ in 0..ROUNDS {
        for (at, node) in nodes.iter_mut().enumerate() {
            let goal = seen.answers() + 30;
            until("the load goes on", || seen.answers() >= goal).await;
            assert_eq!(node.stop().await, Some(0), "server {at}");
            let goal = seen.answers() + 10;
            until("the others answer", || seen.answers() >= goal).await;
            *node = Node::at(node.address);
            for channel in &channels {
                until("a server is connected again", || node.is_ready(channel)).await;
            }
        }
    }
    let goal = seen.messages.load(Ordering::SeqCst) + u64::try_from(STREAMS).unwrap();
    until("the streams go on", || seen.messages.load(Ordering::SeqCst) >= goal).await;
    seen.over.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(PATIENCE, async {
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    });
    ended.await.expect("a caller hangs");
    assert_eq!(*seen.failures.lock().unwrap(), Vec::<String>::new(), "beside {} answers", seen.answers());
    // In a round each server stops, so each stream went on elsewhere at least once.
    let (resumed, streams) = (seen.resumed.load(Ordering::SeqCst), STREAMS * ROUNDS);
    assert!(resumed >= u64::try_from(streams).unwrap(), "{resumed} of {streams} streams went on elsewhere");
}

//! `cargo xtask bench gateway`: calls through our gateway, beside HAProxy, nginx and Envoy that pass the same calls on and do
//! nothing else.
//!
//! The gateway is the real binary with all it has by default: it verifies tokens, counts the calls of each caller and of their
//! address (limits that nobody reaches), and logs each request, as JSON to a file. What stands between, the service behind it and
//! the callers are processes of their own, so that the CPU of each can be told, and each has one thread that does the work: the
//! gateway one worker of its runtime, HAProxy `nbthread 1`, nginx one process, Envoy `--concurrency 1`. Callers and service speak
//! `h2` without a codec, so that what stands between is what is measured; where its thread is not busy, they are not light
//! enough, and the CPU of a call tells more than throughput.
//!
//! 64 calls are in flight, on 8 connections, with the tokens of 256 callers by turns: GetProduct, which is answered with some
//! 300 bytes. Callers of HTTP/JSON get the same product by HTTP/1.1, each on a connection that is kept. Before anything is
//! measured, each way has to answer as the service does, and the gateway to refuse a forged token.
//!
//! Throughput and CPU are measured in short rounds over all ways, times after that at one steady rate, in rounds too. What counts
//! are ratios to the gateway's pass-through of the same round, and medians of those.
//!
//! After `cargo xtask bench gateway --`: `--profile` tells where the gateway's time goes, by `perf`; for a look at some ways alone
//! `--only WAY,WAY`, and `--rounds N`, `--quick`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]
#![allow(missing_docs, reason = "a program")]

mod checks;
// What loads a way, the processes of a run, and how proxies are started, are those of the benchmark of the channel.
#[path = "../mesh/client.rs"]
mod client;
mod gateway;
#[path = "../mesh/load.rs"]
mod load;
mod paths;
mod peers;
#[allow(dead_code, reason = "there is no fleet here")]
#[path = "../mesh/processes.rs"]
mod processes;
mod profile;
#[allow(dead_code, reason = "proxies have other configurations here")]
#[path = "../mesh/proxies.rs"]
mod proxies;
mod report;
mod throughput;
mod times;
mod upstream;
mod ways;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use crate::report::Report;
use crate::upstream::Upstream;
use crate::ways::{GATEWAY, Way};

/// How long things take, and how often they are done.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Rounds of throughput.
    pub rounds: usize,
    /// Before a window of these.
    pub warm: Duration,
    /// A window of these.
    pub window: Duration,
    /// Rounds at a steady rate.
    pub steady_rounds: usize,
    /// How long one of these runs, and from when on it counts.
    pub steady: (Duration, Duration),
    /// How long the gateway is looked at by `perf`.
    pub profile: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        rounds: 9,
        warm: Duration::from_millis(300),
        window: Duration::from_millis(1500),
        steady_rounds: 5,
        steady: (Duration::from_secs(3), Duration::from_secs(1)),
        profile: Duration::from_secs(5),
    };
    /// To see that everything runs; its figures mean nothing.
    const QUICK: Self = Self {
        rounds: 1,
        warm: Duration::from_millis(100),
        window: Duration::from_millis(300),
        steady_rounds: 1,
        steady: (Duration::from_millis(400), Duration::from_millis(100)),
        profile: Duration::from_secs(1),
    };
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["upstream"] => block_on(upstream::run()),
        ["client", path, server, tokens] => block_on(paths::run(path, server.parse().unwrap(), Path::new(tokens))),
        _ => measure(&words),
    }
}

/// The service and the callers have one thread each, as what stands between them has.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn measure(words: &[&str]) {
    let value = |flag: &str| words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
    let wanted = |way: &str| value("--only").is_none_or(|only| only.split(',').any(|name| name == way));
    let mut pace = if words.contains(&"--quick") { Pace::QUICK } else { Pace::USUAL };
    if let Some(rounds) = value("--rounds") {
        pace.rounds = rounds.parse().unwrap();
    }
    let upstream = Upstream::start();
    let mut ways = Vec::new();
    for kind in ways::ALL.iter().filter(|kind| wanted(kind.name)) {
        match Way::open(kind, &upstream) {
            Ok(way) => ways.push(way),
            Err(error) => eprintln!("without {}: {error}", kind.name),
        }
    }
    for way in &ways {
        if let Err(error) = block_on(checks::check(way, &upstream)) {
            panic!("{} does not do what it should: {error}", way.kind.name);
        }
    }
    let rounds = throughput::rounds(&mut ways, &upstream, pace);
    let steady = times::measure(&mut ways, &rounds, pace);
    let profile = words.contains(&"--profile").then(|| match ways.iter_mut().find(|way| way.kind.name == GATEWAY) {
        Some(way) => profile::take(way, pace),
        None => Err("there is no gateway in this run".to_owned()),
    });
    let report =
        Report { costs: throughput::costs(&ways, &rounds), goals: throughput::goals(&ways, &rounds), steady, profile };
    if value("--output") == Some("json") { report.json() } else { report.text() }
}

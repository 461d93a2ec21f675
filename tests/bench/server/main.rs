//! `cargo xtask bench server`: what the layers of our server cost beside bare tonic, what a Redis that hangs costs callers, how
//! many decisions a rate limiter makes, and what is left of a server's capacity when it is asked for five times as much.
//!
//! Servers and their callers are processes of their own. A server has one thread, but for those that are named otherwise, and
//! callers speak `h2` without a codec, so that the server is what is measured. Throughput is measured in short rounds over all
//! servers; what counts are ratios to bare tonic with as many threads, of the same round. Two servers whose callers are over
//! their limit show what a forged token costs beside none.
//!
//! For a look at some parts alone, after `cargo xtask bench server --`: `--only PART,PART` (`throughput`, `outage`, `decisions`,
//! `goodput`), `--rounds N`, `--quick`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]
#![allow(missing_docs, reason = "a program")]

// What loads a server, and the processes of a run, are those of the benchmark of the channel.
#[path = "../mesh/client.rs"]
mod client;
mod decisions;
mod goodput;
mod handler;
#[path = "../mesh/load.rs"]
mod load;
#[allow(dead_code, reason = "calls are made without a codec here")]
#[path = "../mesh/message.rs"]
mod message;
mod outage;
mod paths;
#[allow(dead_code, reason = "there is no fleet here")]
#[path = "../mesh/processes.rs"]
mod processes;
mod report;
mod servers;
mod stack;
mod throughput;
mod token;

use std::future::Future;
use std::time::Duration;

use meshwork_testkit::Redis;

/// How long things take.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    /// Before a window.
    pub warm: Duration,
    /// A window of a round.
    pub window: Duration,
    /// How long Redis is frozen, how long decisions are counted, and how long a server is overloaded.
    pub long: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        rounds: 9,
        warm: Duration::from_millis(300),
        window: Duration::from_millis(1500),
        long: Duration::from_secs(10),
    };
    /// To see that everything runs; its figures mean nothing.
    const QUICK: Self = Self {
        rounds: 1,
        warm: Duration::from_millis(100),
        window: Duration::from_millis(300),
        long: Duration::from_secs(1),
    };
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["server", kind, threads] => block_on(threads.parse().unwrap(), servers::run(kind)),
        ["client", path, server] => block_on(1, paths::run(path, server.parse().unwrap())),
        ["decide", kind, tasks, millis] => {
            let window = Duration::from_millis(millis.parse().unwrap());
            decisions::run(kind, tasks.parse().unwrap(), window);
        }
        _ => measure(&words),
    }
}

/// Servers and clients have one thread each, so that two of them share a small machine well, unless it is threads that matter.
fn block_on(threads: usize, work: impl Future<Output = ()>) {
    let runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        several => tokio::runtime::Builder::new_multi_thread().worker_threads(several).enable_all().build(),
    };
    runtime.unwrap().block_on(work);
}

fn measure(words: &[&str]) {
    let value = |flag: &str| words.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1]);
    let wanted = |part: &str| value("--only").is_none_or(|only| only.split(',').any(|name| name == part));
    let mut pace = if words.contains(&"--quick") { Pace::QUICK } else { Pace::USUAL };
    if let Some(rounds) = value("--rounds") {
        pace.rounds = rounds.parse().unwrap();
    }
    let redis = Redis::private(&[]);
    let report = report::Report {
        costs: if wanted("throughput") { throughput::measure(pace, &redis) } else { Vec::new() },
        outage: wanted("outage").then(|| outage::measure(pace, &redis)),
        decisions: if wanted("decisions") { decisions::measure(pace, &redis) } else { Vec::new() },
        goodput: wanted("goodput").then(|| goodput::measure(pace)),
    };
    if value("--output") == Some("json") { report.json() } else { report.text() }
}

//! Servers that allow few streams, under many more callers, so that most of them wait for one: how many calls get through,
//! what one costs, and whether callers take turns.
//!
//! Where all take turns, a call takes `callers ÷ rate`. At most twice that is allowed to one in a hundred.

use std::time::Duration;

use serde_json::Value;

use crate::paths::YARDSTICK;
use crate::processes::{self, Fleet, Obedient};
use crate::throughput::median;

/// How many callers there are.
pub const CALLERS: u32 = 1_000;
/// How many streams a server allows at once; Kestrel's default.
pub const STREAMS: u32 = 100;
/// The least throughput that we hold ourselves to, as a ratio to the yardstick.
pub const THROUGHPUT_GOAL: f64 = 1.3;
/// So many times the time of a call where all take turns is the bound of the p99.
const BOUND: f64 = 2.0;

/// The paths that are looked at.
const PATHS: &[&str] = &["meshwork", "meshwork-bare", YARDSTICK];
/// Before a window.
const WARM: Duration = Duration::from_millis(500);
/// What is measured.
const WINDOW: Duration = Duration::from_secs(2);

/// What one round of one path has shown.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_second: f64,
    /// CPU of the client per call, in microseconds.
    client_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    wait_p99_ms: Option<f64>,
    failed: u64,
}

/// What all rounds of one path come to: medians, and what is said otherwise.
#[derive(Clone, Debug)]
pub struct Row {
    pub path: &'static str,
    pub per_second: f64,
    pub client_us: f64,
    /// Medians of the ratios to the yardstick of the same round.
    pub throughput_ratio: f64,
    pub client_cpu_ratio: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The p99 of the wait for a stream, if the path can tell.
    pub wait_p99_ms: Option<f64>,
    /// What the p99 may be at the path's own rate.
    pub bound_ms: f64,
    /// The p99 as a part of its bound, in the round where that was worst.
    pub worst: f64,
    /// Of all rounds.
    pub failed: u64,
}

/// Runs all rounds of those paths that are `wanted`.
pub fn run(wanted: impl Fn(&str) -> bool, count: usize) -> Vec<Row> {
    let fleet = Fleet::start(Some(STREAMS));
    let names: Vec<_> = PATHS.iter().copied().filter(|path| wanted(path)).collect();
    let mut clients: Vec<_> = names.iter().map(|name| processes::crowd(name, fleet.addresses())).collect();
    let mut seen = vec![Vec::new(); names.len()];
    for turn in 0..count {
        // Another one begins each time, so that nobody always follows the same neighbour's heat.
        for at in (0..names.len()).map(|at| (at + turn) % names.len()) {
            seen[at].push(round(&mut clients[at]));
        }
        eprintln!("limited streams: round {} of {count} is done", turn + 1);
    }
    let yardstick = names.iter().position(|name| *name == YARDSTICK).map_or(&[][..], |at| &seen[at]);
    names.iter().zip(&seen).map(|(name, rounds)| row(name, rounds, yardstick)).collect()
}

/// One round; `None` when the client has ended without a result, so that those of other paths keep their places.
fn round(client: &mut Obedient) -> Option<Round> {
    client.order(&format!("{CALLERS} {} {}", WARM.as_millis(), WINDOW.as_millis()));
    client.line()?;
    let result: Value = client.result()?;
    let value = |key: &str| result[key].as_f64();
    let calls = value("calls")?.max(1.0);
    Some(Round {
        per_second: calls / value("seconds")?,
        client_us: value("cpu_us")? / calls,
        p50_ms: value("p50_us")? / 1e3,
        p99_ms: value("p99_us")? / 1e3,
        wait_p99_ms: value("wait_p99_us").map(|time| time / 1e3),
        failed: result["failed"].as_u64()?,
    })
}

fn row(path: &'static str, rounds: &[Option<Round>], yardstick: &[Option<Round>]) -> Row {
    let over = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().flatten().map(value).collect());
    let ratio = |value: &dyn Fn(&Round) -> f64| {
        let pairs = rounds.iter().zip(yardstick).filter_map(|(ours, theirs)| ours.as_ref().zip(theirs.as_ref()));
        median(pairs.map(|(ours, theirs)| value(ours) / value(theirs)).collect())
    };
    let bound_ms = |round: &Round| BOUND * f64::from(CALLERS) / round.per_second * 1e3;
    let waits: Vec<_> = rounds.iter().flatten().filter_map(|round| round.wait_p99_ms).collect();
    Row {
        path,
        per_second: over(&|round| round.per_second),
        client_us: over(&|round| round.client_us),
        throughput_ratio: ratio(&|round| round.per_second),
        client_cpu_ratio: ratio(&|round| round.client_us),
        p50_ms: over(&|round| round.p50_ms),
        p99_ms: over(&|round| round.p99_ms),
        wait_p99_ms: (!waits.is_empty()).then(|| median(waits)),
        bound_ms: over(&bound_ms),
        worst: rounds.iter().flatten().map(|round| round.p99_ms / bound_ms(round)).fold(f64::NAN, f64::max),
        failed: rounds.iter().flatten().map(|round| round.failed).sum(),
    }
}

//! How long calls take at a steady rate that every way can bear, in rounds over all ways.

use std::time::Duration;

use crate::Pace;
use crate::throughput::{Round, median};
use crate::ways::Way;

/// The deadline of calls; nothing comes near it.
const DEADLINE: Duration = Duration::from_secs(1);
/// The rate, as a share of what the slowest way can take.
const SHARE: f64 = 0.5;

/// The times of a way, in microseconds: medians over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub p50_us: f64,
    pub p99_us: f64,
    pub failed: f64,
}

/// What was seen at a steady rate.
#[derive(Debug)]
pub struct Steady {
    /// Calls a second, the same for all ways.
    pub per_second: f64,
    /// In the order of the ways.
    pub times: Vec<Times>,
}

/// Each way at the same rate: half of what the slowest of them took in its `rounds`.
pub fn measure(ways: &mut [Way], rounds: &[Vec<Round>], pace: Pace) -> Steady {
    let slowest = rounds.iter().map(|rounds| median(rounds.iter().map(|round| round.per_second).collect()));
    let per_second = (slowest.fold(f64::INFINITY, f64::min) * SHARE).round().max(1.0);
    let mut seen = vec![Vec::new(); ways.len()];
    for turn in 0..pace.steady_rounds {
        let count = ways.len();
        for at in (0..count).map(|at| (at + turn) % count) {
            seen[at].push(round(&mut ways[at], per_second, pace));
        }
        eprintln!("round {} of {} at {per_second:.0} calls a second", turn + 1, pace.steady_rounds);
    }
    let times = |rounds: &Vec<Times>| {
        let over = |value: fn(&Times) -> f64| median(rounds.iter().map(value).collect());
        Times {
            p50_us: over(|times| times.p50_us),
            p99_us: over(|times| times.p99_us),
            failed: rounds.iter().map(|times| times.failed).sum(),
        }
    };
    Steady { per_second, times: seen.iter().map(times).collect() }
}

fn round(way: &mut Way, per_second: f64, pace: Pace) -> Times {
    if let Some(gateway) = way.gateway() {
        gateway.clear_log();
    }
    let (total, from) = (pace.steady.0.as_millis(), pace.steady.1.as_millis());
    way.client.order(&format!("open {per_second} {total} {from} {total} {}", DEADLINE.as_millis()));
    assert_eq!(way.client.line().as_deref(), Some("window"), "the callers of {} ended", way.kind.name);
    let result = way.client.result().expect("callers ended without a result");
    let value = |key: &str| result[key].as_f64().unwrap();
    Times { p50_us: value("p50_us"), p99_us: value("p99_us"), failed: value("failed") }
}

//! How many calls a path can make, and what one costs: short rounds that go over all paths, again and again, so that
//! what drifts drifts for all.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::paths::YARDSTICK;
use crate::processes::{Fleet, Obedient};
use crate::run::Way;

/// Before a window.
const WARM: Duration = Duration::from_millis(200);
/// What is measured.
const WINDOW: Duration = Duration::from_millis(1000);
/// What we hold ourselves to with the full policy, as ratios to the yardstick: the least throughput, and the most CPU of the
/// client.
pub const GOALS: (f64, f64) = (1.4, 0.6);
/// How long the open loop runs, and from when on it counts.
const OPEN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(1));
/// The deadline in the open loop; nothing comes near it.
const DEADLINE: Duration = Duration::from_secs(1);

/// What one round of one path has shown. Times are microseconds of CPU per call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    pub per_second: f64,
    pub client_us: f64,
    pub server_us: f64,
    pub proxy_us: f64,
    pub failed: f64,
}

/// The times of an open loop, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub per_second: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub failed: u64,
}

/// What all rounds of one path come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Medians of each value.
    pub round: Round,
    /// Medians of the ratios to the yardstick of the same round.
    pub throughput_ratio: f64,
    pub client_cpu_ratio: f64,
    pub total_cpu_ratio: f64,
}

/// Runs all rounds; the result has as many of each path.
pub fn rounds(ways: &[Way], fleet: &Fleet, count: usize) -> BTreeMap<String, Vec<Round>> {
    let mut clients: Vec<Obedient> = ways.iter().map(|way| way.client(fleet)).collect();
    let mut seen = BTreeMap::<String, Vec<Round>>::new();
    for turn in 0..count {
        // Another one begins each time, so that nobody always follows the same neighbour's heat.
        for at in (0..ways.len()).map(|at| (at + turn) % ways.len()) {
            if let Some(round) = round(&ways[at], &mut clients[at], fleet) {
                seen.entry(ways[at].name.clone()).or_default().push(round);
            }
        }
        eprintln!("round {} of {count} is done", turn + 1);
    }
    seen
}

fn round(way: &Way, client: &mut Obedient, fleet: &Fleet) -> Option<Round> {
    client.order(&format!("closed {} {}", WARM.as_millis(), WINDOW.as_millis()));
    client.line()?;
    let (servers, proxy) = (fleet.cpu_us(), way.proxy_cpu_us());
    let result = client.result()?;
    let (servers, proxy) = (fleet.cpu_us() - servers, way.proxy_cpu_us() - proxy);
    let value = |key: &str| result[key].as_f64().unwrap();
    let calls = value("calls").max(1.0);
    Some(Round {
        per_second: calls / value("seconds"),
        client_us: value("cpu_us") / calls,
        server_us: servers / calls,
        proxy_us: proxy / calls,
        failed: value("failed"),
    })
}

/// Each path at the same steady rate.
pub fn open(ways: &[Way], fleet: &Fleet, per_second: f64) -> BTreeMap<String, Times> {
    let mut seen = BTreeMap::new();
    for way in ways {
        let mut client = way.client(fleet);
        let (total, from) = (OPEN.0.as_millis(), OPEN.1.as_millis());
        client.order(&format!("open {per_second} {total} {from} {total} {}", DEADLINE.as_millis()));
        let result = client.line().and_then(|_| client.result());
        if let Some(result) = result {
            let value = |key: &str| result[key].as_u64().unwrap();
            let times = Times { per_second, p50_us: value("p50_us"), p99_us: value("p99_us"), failed: value("failed") };
            seen.insert(way.name.clone(), times);
        }
    }
    seen
}

/// Medians, and medians of ratios.
pub fn summary(seen: &BTreeMap<String, Vec<Round>>) -> BTreeMap<String, Summary> {
    let nothing = Vec::new();
    let yardstick = seen.get(YARDSTICK).unwrap_or(&nothing);
    let total = |round: &Round| round.client_us + round.server_us + round.proxy_us;
    let sum = |rounds: &Vec<Round>| {
        let over = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let ratio = |value: &dyn Fn(&Round) -> f64| {
            median(rounds.iter().zip(yardstick).map(|(ours, theirs)| value(ours) / value(theirs)).collect())
        };
        Summary {
            round: Round {
                per_second: over(&|round| round.per_second),
                client_us: over(&|round| round.client_us),
                server_us: over(&|round| round.server_us),
                proxy_us: over(&|round| round.proxy_us),
                failed: rounds.iter().map(|round| round.failed).sum(),
            },
            throughput_ratio: ratio(&|round| round.per_second),
            client_cpu_ratio: ratio(&|round| round.client_us),
            total_cpu_ratio: ratio(&total),
        }
    };
    seen.iter().map(|(path, rounds)| (path.clone(), sum(rounds))).collect()
}

/// The value in the middle; not a number when there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

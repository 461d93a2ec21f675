//! How many calls a way can take, and what one costs: short rounds that go over all ways, again and again, so that what drifts
//! drifts for all.

use crate::Pace;
use crate::upstream::Upstream;
use crate::ways::{ENVOY, GATEWAY, HAPROXY, NGINX, Way};

/// The least throughput of the gateway, as ratios to HAProxy's, and to the better one of nginx's and Envoy's.
const GOALS: (f64, f64) = (0.9, 1.25);

/// What one round of one way has shown.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub per_second: f64,
    /// CPU of what stands between, of the callers and of the service, in microseconds per call.
    pub proxy_us: f64,
    pub client_us: f64,
    pub upstream_us: f64,
    /// How much of its one thread what stands between has used, from 0 to 1.
    pub busy: f64,
    pub failed: f64,
}

/// What all rounds of a way come to: medians of each value, and medians of the ratios to the gateway of the same round.
#[derive(Debug)]
pub struct Cost {
    pub way: &'static str,
    pub round: Round,
    pub throughput_ratio: f64,
    pub cpu_ratio: f64,
}

/// A goal, and what was reached: medians of ratios of the same round.
#[derive(Debug)]
pub struct Goal {
    pub what: &'static str,
    pub least: f64,
    pub reached: f64,
}

impl Goal {
    pub fn is_met(&self) -> bool {
        self.reached >= self.least
    }
}

/// Runs all rounds; the result has as many of each way.
pub fn rounds(ways: &mut [Way], upstream: &Upstream, pace: Pace) -> Vec<Vec<Round>> {
    let mut seen = vec![Vec::new(); ways.len()];
    for turn in 0..pace.rounds {
        // Another one begins each time, so that nobody always follows the same neighbour's heat.
        let count = ways.len();
        for at in (0..count).map(|at| (at + turn) % count) {
            seen[at].push(round(&mut ways[at], upstream, pace));
        }
        eprintln!("round {} of {}", turn + 1, pace.rounds);
    }
    seen
}

fn round(way: &mut Way, upstream: &Upstream, pace: Pace) -> Round {
    if let Some(gateway) = way.gateway() {
        gateway.clear_log();
    }
    way.client.order(&format!("closed {} {}", pace.warm.as_millis(), pace.window.as_millis()));
    assert_eq!(way.client.line().as_deref(), Some("window"), "the callers of {} ended", way.kind.name);
    let (proxy, service) = (way.cpu_us(), upstream.cpu_us());
    let result = way.client.result().expect("callers ended without a result");
    let (proxy, service) = (way.cpu_us() - proxy, upstream.cpu_us() - service);
    let value = |key: &str| result[key].as_f64().unwrap();
    let (calls, seconds) = (value("calls").max(1.0), value("seconds"));
    Round {
        per_second: calls / seconds,
        proxy_us: proxy / calls,
        client_us: value("cpu_us") / calls,
        upstream_us: service / calls,
        busy: proxy / 1e6 / seconds,
        failed: value("failed"),
    }
}

/// What calls cost, way by way; ratios are not numbers when the gateway isn't among them.
pub fn costs(ways: &[Way], seen: &[Vec<Round>]) -> Vec<Cost> {
    let gateway = of(GATEWAY, ways, seen);
    let cost = |(way, rounds): (&Way, &Vec<Round>)| {
        let over = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let ratio = |value: fn(&Round) -> f64| {
            median(rounds.iter().zip(gateway).map(|(ours, theirs)| value(ours) / value(theirs)).collect())
        };
        Cost {
            way: way.kind.name,
            round: Round {
                per_second: over(|round| round.per_second),
                proxy_us: over(|round| round.proxy_us),
                client_us: over(|round| round.client_us),
                upstream_us: over(|round| round.upstream_us),
                busy: over(|round| round.busy),
                failed: rounds.iter().map(|round| round.failed).sum(),
            },
            throughput_ratio: ratio(|round| round.per_second),
            cpu_ratio: ratio(|round| round.proxy_us),
        }
    };
    ways.iter().zip(seen).map(cost).collect()
}

/// The goals that can be told from these ways.
pub fn goals(ways: &[Way], seen: &[Vec<Round>]) -> Vec<Goal> {
    let per_second = |name: &str| of(name, ways, seen).iter().map(|round| round.per_second).collect::<Vec<_>>();
    let (gateway, haproxy) = (per_second(GATEWAY), per_second(HAPROXY));
    let better: Vec<_> =
        per_second(NGINX).iter().zip(&per_second(ENVOY)).map(|(nginx, envoy)| nginx.max(*envoy)).collect();
    let goal = |what: &'static str, least: f64, others: &[f64]| {
        let ratios: Vec<_> = gateway.iter().zip(others).map(|(ours, theirs)| ours / theirs).collect();
        (!ratios.is_empty()).then(|| Goal { what, least, reached: median(ratios) })
    };
    let goals = [
        goal("throughput, to HAProxy's", GOALS.0, &haproxy),
        goal("throughput, to the better of nginx's and Envoy's", GOALS.1, &better),
    ];
    goals.into_iter().flatten().collect()
}

/// The rounds of a way; none when it isn't among them.
fn of<'a>(name: &str, ways: &[Way], seen: &'a [Vec<Round>]) -> &'a [Round] {
    let at = ways.iter().position(|way| way.kind.name == name);
    at.map_or_else(Default::default, |at| seen[at].as_slice())
}

/// The value in the middle; not a number when there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

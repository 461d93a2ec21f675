//! How many calls a server can answer, and what one costs it: short rounds that go over all servers, again and again, so that
//! what drifts drifts for all.

use meshwork_testkit::Redis;

use crate::Pace;
use crate::servers::{ALL, Pair, Setup};

/// What one round of one server has shown.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub per_second: f64,
    /// CPU of the server and of its caller, in microseconds per call.
    pub server_us: f64,
    pub client_us: f64,
    /// How much of its one thread the server has used, from 0 to 1.
    pub busy: f64,
    pub failed: f64,
}

/// What all rounds of a server come to: medians of each value, and medians of the ratios to its yardstick of the same round.
pub struct Cost {
    pub server: String,
    pub round: Round,
    pub throughput_ratio: f64,
    pub cpu_ratio: f64,
}

pub fn measure(pace: Pace, redis: &Redis) -> Vec<Cost> {
    let mut pairs: Vec<_> = ALL.iter().map(|setup| Pair::start(*setup, redis.url())).collect();
    let mut seen = vec![Vec::new(); ALL.len()];
    for turn in 0..pace.rounds {
        // Another one begins each time, so that nobody always follows the same neighbour's heat.
        for at in (0..ALL.len()).map(|at| (at + turn) % ALL.len()) {
            seen[at].push(round(&mut pairs[at], pace));
        }
        eprintln!("round {} of {}", turn + 1, pace.rounds);
    }
    let cost = |(setup, rounds): (&Setup, &Vec<Round>)| {
        let yardstick = ALL.iter().position(|other| *other == setup.yardstick()).unwrap();
        let over = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let ratio = |value: fn(&Round) -> f64| {
            median(rounds.iter().zip(&seen[yardstick]).map(|(ours, theirs)| value(ours) / value(theirs)).collect())
        };
        Cost {
            server: setup.name(),
            round: Round {
                per_second: over(|round| round.per_second),
                server_us: over(|round| round.server_us),
                client_us: over(|round| round.client_us),
                busy: over(|round| round.busy),
                failed: if setup.refuses() { 0.0 } else { rounds.iter().map(|round| round.failed).sum() },
            },
            throughput_ratio: ratio(|round| round.per_second),
            cpu_ratio: ratio(|round| round.server_us),
        }
    };
    ALL.iter().zip(&seen).map(cost).collect()
}

fn round(pair: &mut Pair, pace: Pace) -> Round {
    pair.client.order(&format!("closed {} {}", pace.warm.as_millis(), pace.window.as_millis()));
    assert_eq!(pair.client.line().as_deref(), Some("window"), "a client ended");
    let before = pair.server.cpu_us();
    let result = pair.client.result().expect("a client ended without a result");
    let server = pair.server.cpu_us() - before;
    let value = |key: &str| result[key].as_f64().unwrap();
    let (calls, seconds) = (value("calls").max(1.0), value("seconds"));
    Round {
        per_second: calls / seconds,
        server_us: server / calls,
        client_us: value("cpu_us") / calls,
        busy: server / 1e6 / seconds,
        failed: value("failed"),
    }
}

/// The value in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

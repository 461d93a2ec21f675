//! A Redis that hangs under a limiter whose route is open without it: what that adds to the time of calls.

use std::time::Duration;

use meshwork_testkit::Redis;
use serde_json::Value;

use crate::Pace;
use crate::paths::GOOD;
use crate::servers::{Pair, REDIS, Setup};

/// Calls a second: few enough that no call waits for another.
pub const PER_SECOND: f64 = 1_000.0;
/// The deadline of these calls; nothing may come near it.
const DEADLINE: Duration = Duration::from_secs(5);

/// Times in milliseconds.
#[derive(Clone, Copy)]
pub struct Times {
    pub calls: u64,
    pub failed: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

pub struct Outage {
    pub well: Times,
    pub frozen: Times,
}

pub fn measure(pace: Pace, redis: &Redis) -> Outage {
    let mut pair = Pair::start(Setup { kind: REDIS, threads: 1, path: GOOD }, redis.url());
    // Connections are made and code is warm before anything counts.
    let well = open(&mut pair, pace.long / 2, pace.long / 4, || {});
    let frozen = open(&mut pair, pace.long, Duration::ZERO, || redis.freeze());
    redis.thaw();
    Outage { well, frozen }
}

/// Calls at a steady rate for so long; those count that start after `from`.
fn open(pair: &mut Pair, total: Duration, from: Duration, begun: impl FnOnce()) -> Times {
    let (total, from) = (total.as_millis(), from.as_millis());
    pair.client.order(&format!("open {PER_SECOND} {total} {from} {total} {}", DEADLINE.as_millis()));
    assert_eq!(pair.client.line().as_deref(), Some("window"), "a client ended");
    begun();
    times(&pair.client.result().expect("a client ended without a result"))
}

#[allow(clippy::cast_precision_loss, reason = "times are not that long")]
fn times(result: &Value) -> Times {
    let count = |key: &str| result[key].as_u64().unwrap();
    let millis = |key: &str| count(key) as f64 / 1e3;
    Times {
        calls: count("calls"),
        failed: count("failed"),
        p50: millis("p50_us"),
        p99: millis("p99_us"),
        p999: millis("p999_us"),
    }
}

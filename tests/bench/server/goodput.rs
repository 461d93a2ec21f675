//! What a server still does when it is asked for five times what it can do: with load shedding, and with a queue instead.

use std::time::Duration;

use crate::Pace;
use crate::handler::{PLACES, WORK};
use crate::paths::GOOD;
use crate::servers::{Pair, QUEUES, SHEDS, Setup};

/// How many times its capacity a server is asked for.
pub const OVERLOAD: f64 = 5.0;
/// What callers wait for an answer.
pub const DEADLINE: Duration = Duration::from_millis(200);

/// Calls that were answered well and in time, in a second.
pub struct Goodput {
    /// With as many callers as there are places, each calling again when it is answered.
    pub peak: f64,
    /// Calls a second in the overload.
    pub offered: f64,
    pub sheds: f64,
    pub queues: f64,
}

pub fn measure(pace: Pace) -> Goodput {
    let mut queues = Pair::start(Setup { kind: QUEUES, threads: 1, path: GOOD }, "");
    queues.client.order(&format!("closed {} {}", pace.warm.as_millis() + 200, (pace.long / 3).as_millis()));
    queues.client.line().expect("a client ended");
    let result = queues.client.result().expect("a client ended without a result");
    let peak =
        (result["calls"].as_f64().unwrap() - result["failed"].as_f64().unwrap()) / result["seconds"].as_f64().unwrap();
    let offered = OVERLOAD * f64::from(u32::try_from(PLACES).unwrap()) / WORK.as_secs_f64();
    let sheds = overload(&mut Pair::start(Setup { kind: SHEDS, threads: 1, path: GOOD }, ""), offered, pace);
    let queues = overload(&mut queues, offered, pace);
    Goodput { peak, offered, sheds, queues }
}

/// Good answers a second, once the overload has lasted for a while.
fn overload(pair: &mut Pair, offered: f64, pace: Pace) -> f64 {
    let (total, from) = (pace.long, pace.long / 3);
    let (until, deadline) = (total.as_millis(), DEADLINE.as_millis());
    pair.client.order(&format!("open {offered} {until} {} {until} {deadline}", from.as_millis()));
    pair.client.line().expect("a client ended");
    let result = pair.client.result().expect("a client ended without a result");
    let value = |key: &str| result[key].as_f64().unwrap();
    (value("calls") - value("failed")) / (total - from).as_secs_f64()
}

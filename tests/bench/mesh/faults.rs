//! What becomes of a steady load while a server is bad.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::processes::{Fleet, SERVERS};
use crate::run::Way;

/// Calls a second.
const RATE: u32 = 2_000;
/// How long a run is.
const TOTAL: Duration = Duration::from_secs(14);
/// When the fault begins, and when it ends; calls between the two count.
const FROM: Duration = Duration::from_secs(4);
const UNTIL: Duration = Duration::from_secs(10);
/// The deadline of each call.
const DEADLINE: Duration = Duration::from_secs(1);
/// The run without a fault: it need not recover.
const CALM: (Duration, Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(1), Duration::from_secs(4));
/// The server that is bad, when it is one.
const VICTIM: usize = 1;

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Kill,
    Stop,
    Slow,
    Refuse,
    Rolling,
}

impl Fault {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 6] = [Self::None, Self::Kill, Self::Stop, Self::Slow, Self::Refuse, Self::Rolling];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill -9",
            Self::Stop => "SIGSTOP",
            Self::Slow => "+200 ms",
            Self::Refuse => "50 % UNAVAILABLE",
            Self::Rolling => "rolling restart",
        }
    }

    /// Does it, from `start` on; returns when it is over.
    fn happen(self, fleet: &mut Fleet, start: Instant) {
        let until = |at: Duration| std::thread::sleep((start + at).saturating_duration_since(Instant::now()));
        if self == Self::None {
            return;
        }
        until(FROM);
        match self {
            Self::None => {}
            Self::Kill => fleet.kill(VICTIM),
            Self::Stop => fleet.signal(VICTIM, Signal::SIGSTOP),
            Self::Slow => fleet.order(VICTIM, "delay 200"),
            Self::Refuse => fleet.order(VICTIM, "refuse 50"),
            Self::Rolling => {
                for server in 0..SERVERS {
                    until(FROM + (UNTIL - FROM) * u32::try_from(server).unwrap() / u32::try_from(SERVERS).unwrap());
                    fleet.restart(server);
                }
            }
        }
        until(UNTIL);
        match self {
            Self::None | Self::Rolling => {}
            Self::Kill => fleet.start_again(VICTIM),
            Self::Stop => fleet.signal(VICTIM, Signal::SIGCONT),
            Self::Slow => fleet.order(VICTIM, "delay 0"),
            Self::Refuse => fleet.order(VICTIM, "refuse 0"),
        }
    }
}

/// What one path made of one fault.
#[derive(Clone, Debug)]
pub struct Row {
    pub fault: Fault,
    pub path: String,
    pub calls: u64,
    pub failed: u64,
    pub p99_ms: f64,
    pub p999_ms: f64,
}

/// Runs one path through one fault; `None` when its client has ended without a result.
pub fn run(fault: Fault, way: &Way, fleet: &mut Fleet) -> Option<Row> {
    let (total, from, until) = if fault == Fault::None { CALM } else { (TOTAL, FROM, UNTIL) };
    let mut client = way.client(fleet);
    let milliseconds = [total, from, until, DEADLINE].map(|time| time.as_millis().to_string()).join(" ");
    client.order(&format!("open {RATE} {milliseconds}"));
    client.line()?;
    fault.happen(fleet, Instant::now());
    let result: Value = client.result()?;
    let count = |key: &str| result[key].as_u64().unwrap();
    #[allow(clippy::cast_precision_loss, reason = "microseconds of some seconds")]
    let milliseconds = |key: &str| count(key) as f64 / 1e3;
    Some(Row {
        fault,
        path: way.name.clone(),
        calls: count("calls"),
        failed: count("failed"),
        p99_ms: milliseconds("p99_us"),
        p999_ms: milliseconds("p999_us"),
    })
}

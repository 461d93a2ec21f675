//! Streams of many messages and messages that are large: how many calls get through, and what one costs the client.

use std::time::Duration;

use serde_json::Value;

use crate::paths::{PATIENT, YARDSTICK};
use crate::processes::{self, Fleet, Obedient};
use crate::shape::Shape;
use crate::throughput::median;

/// The paths that are looked at.
const PATHS: &[&str] = &["meshwork", "meshwork-bare", YARDSTICK];
/// Before a window.
const WARM: Duration = Duration::from_millis(200);
/// What is measured.
const WINDOW: Duration = Duration::from_millis(800);

/// What one round of one path has shown.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_second: f64,
    /// CPU of the client per call, in microseconds.
    client_us: f64,
    failed: u64,
}

/// What all rounds of one path in one shape come to: medians, and what is said otherwise.
#[derive(Clone, Debug)]
pub struct Row {
    pub shape: Shape,
    pub path: &'static str,
    pub per_second: f64,
    pub client_us: f64,
    /// Medians of the ratios to the yardstick of the same shape and round.
    pub throughput_ratio: f64,
    pub client_cpu_ratio: f64,
    /// Of all rounds.
    pub failed: u64,
}

/// Runs all rounds of those paths that are `wanted`.
pub fn run(wanted: impl Fn(&str) -> bool, count: usize) -> Vec<Row> {
    let fleet = Fleet::start(None);
    let paths: Vec<_> = PATHS.iter().copied().filter(|path| wanted(path)).collect();
    let ways: Vec<_> = Shape::ALL.into_iter().flat_map(|shape| paths.iter().map(move |path| (shape, *path))).collect();
    let mut clients: Vec<_> = ways.iter().map(|(shape, path)| client(*shape, path, &fleet)).collect();
    let mut seen = vec![Vec::new(); ways.len()];
    for turn in 0..count {
        // Another one begins each time, so that nobody always follows the same neighbour's heat.
        for at in (0..ways.len()).map(|at| (at + turn) % ways.len()) {
            seen[at].push(round(ways[at].0, &mut clients[at]));
        }
        eprintln!("messages: round {} of {count} is done", turn + 1);
    }
    let rows = ways.iter().zip(&seen).map(|((shape, path), rounds)| {
        let yardstick = ways.iter().position(|way| *way == (*shape, YARDSTICK)).map_or(&[][..], |at| &seen[at]);
        row(*shape, path, rounds, yardstick)
    });
    rows.collect()
}

/// No limit of the policy strikes here: what is compared is work.
fn client(shape: Shape, path: &str, fleet: &Fleet) -> Obedient {
    let mut command = processes::command("shaped", path, fleet.addresses());
    command.arg(shape.word()).env(PATIENT, "1");
    Obedient::new(command)
}

/// One round; `None` when the client has ended without a result, so that those of other paths keep their places.
fn round(shape: Shape, client: &mut Obedient) -> Option<Round> {
    client.order(&format!("closed {} {} {}", WARM.as_millis(), WINDOW.as_millis(), shape.in_flight()));
    client.line()?;
    let result: Value = client.result()?;
    let value = |key: &str| result[key].as_f64();
    let calls = value("calls")?.max(1.0);
    Some(Round {
        per_second: calls / value("seconds")?,
        client_us: value("cpu_us")? / calls,
        failed: result["failed"].as_u64()?,
    })
}

fn row(shape: Shape, path: &'static str, rounds: &[Option<Round>], yardstick: &[Option<Round>]) -> Row {
    let over = |value: &dyn Fn(&Round) -> f64| median(rounds.iter().flatten().map(value).collect());
    let ratio = |value: &dyn Fn(&Round) -> f64| {
        let pairs = rounds.iter().zip(yardstick).filter_map(|(ours, theirs)| ours.as_ref().zip(theirs.as_ref()));
        median(pairs.map(|(ours, theirs)| value(ours) / value(theirs)).collect())
    };
    Row {
        shape,
        path,
        per_second: over(&|round| round.per_second),
        client_us: over(&|round| round.client_us),
        throughput_ratio: ratio(&|round| round.per_second),
        client_cpu_ratio: ratio(&|round| round.client_us),
        failed: rounds.iter().flatten().map(|round| round.failed).sum(),
    }
}

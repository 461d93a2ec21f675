//! What is printed: tables for people, an object a line for programs.

use serde_json::json;

use crate::profile::Profile;
use crate::throughput::{Cost, Goal};
use crate::times::Steady;

/// How many crates and functions of a profile are shown.
const AREAS: usize = 15;
const SYMBOLS: usize = 30;
/// So much of the name of a function is shown.
const NAME: usize = 140;

pub struct Report {
    pub costs: Vec<Cost>,
    pub goals: Vec<Goal>,
    pub steady: Steady,
    /// Or why there is none; nothing when nobody wants it.
    pub profile: Option<Result<Profile, String>>,
}

impl Report {
    /// An object a line.
    pub fn json(&self) {
        for (cost, times) in self.costs.iter().zip(&self.steady.times) {
            let Cost { way, round: seen, throughput_ratio, cpu_ratio } = cost;
            let row = json!({
                "way": way, "per_second": seen.per_second.round(), "throughput_ratio": round(*throughput_ratio),
                "proxy_cpu_us": round(seen.proxy_us), "proxy_cpu_ratio": round(*cpu_ratio), "busy": round(seen.busy),
                "client_cpu_us": round(seen.client_us), "upstream_cpu_us": round(seen.upstream_us),
                "failed": seen.failed + times.failed, "steady_per_second": self.steady.per_second,
                "p50_us": times.p50_us, "p99_us": times.p99_us,
            });
            println!("{row}");
        }
        for goal in &self.goals {
            let row = json!({
                "goal": goal.what, "least": goal.least, "reached": round(goal.reached), "is_met": goal.is_met(),
            });
            println!("{row}");
        }
        match &self.profile {
            None => {}
            Some(Err(error)) => eprintln!("without a profile: {error}"),
            Some(Ok(Profile { areas, symbols })) => {
                for (area, percent) in areas.iter().take(AREAS) {
                    println!("{}", json!({"profile": "crate", "name": area, "percent": round(*percent)}));
                }
                for (symbol, percent) in symbols.iter().take(SYMBOLS) {
                    println!("{}", json!({"profile": "function", "name": shown(symbol), "percent": round(*percent)}));
                }
            }
        }
    }

    /// Tables.
    pub fn text(&self) {
        self.costs_and_times();
        println!(
            "ratios are to `gateway`; p50 and p99 at {:.0} calls a second; one thread each",
            self.steady.per_second
        );
        if !self.goals.is_empty() {
            println!();
        }
        for goal in &self.goals {
            let Goal { what, least, reached } = goal;
            let verdict = if goal.is_met() { "met" } else { "missed" };
            println!("{what}: {reached:.2} (goal: at least {least:.2}, {verdict})");
        }
        match &self.profile {
            None => {}
            Some(Err(error)) => println!("\nno profile: {error}"),
            Some(Ok(profile)) => shares(profile),
        }
    }

    fn costs_and_times(&self) {
        println!(
            "{:<16} {:>9} {:>11} {:>9} {:>10} {:>6} {:>9} {:>9} {:>8} {:>8}",
            "way", "calls/s", "throughput", "proxy", "proxy CPU", "busy", "callers", "service", "p50", "p99"
        );
        println!(
            "{:<16} {:>9} {:>11} {:>9} {:>10} {:>6} {:>9} {:>9} {:>8} {:>8}",
            "", "", "ratio", "µs/call", "ratio", "%", "µs/call", "µs/call", "µs", "µs"
        );
        for (cost, times) in self.costs.iter().zip(&self.steady.times) {
            let Cost { way, round: seen, throughput_ratio, cpu_ratio } = cost;
            println!(
                "{way:<16} {:>9.0} {throughput_ratio:>11.2} {:>9.1} {cpu_ratio:>10.2} {:>6.0} {:>9.1} {:>9.1} {:>8.0} {:>8.0}",
                seen.per_second,
                seen.proxy_us,
                seen.busy * 100.0,
                seen.client_us,
                seen.upstream_us,
                times.p50_us,
                times.p99_us,
            );
            if seen.failed + times.failed > 0.0 {
                println!("{way:<16} {} calls failed, and {} at the steady rate", seen.failed, times.failed);
            }
        }
    }
}

fn shares(Profile { areas, symbols }: &Profile) {
    println!("\nwhere the gateway's time goes, in % of its CPU");
    for (area, percent) in areas.iter().take(AREAS) {
        println!("{percent:>6.1}  {area}");
    }
    println!("\nby function");
    for (symbol, percent) in symbols.iter().take(SYMBOLS) {
        println!("{percent:>6.1}  {}", shown(symbol));
    }
}

/// The beginning of a long name.
fn shown(symbol: &str) -> String {
    if symbol.chars().count() <= NAME {
        symbol.to_owned()
    } else {
        symbol.chars().take(NAME - 1).chain(['…']).collect()
    }
}

/// To a thousandth; a value that is no number stays one.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

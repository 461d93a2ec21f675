//! `cargo xtask bench hostile`: what attacks cost a second caller.
//!
//! The attacks of `tests/hostile`, on the release build, with the latencies of the second caller's calls. `--known` runs those
//! too that are known to succeed; `--attack NAME` runs those only whose name contains NAME.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

#[path = "../hostile/mod.rs"]
mod hostile;

use hostile::{Choice, Outcome};
use serde_json::json;

/// The most milliseconds that 99 of 100 of the second caller's calls should take. Missing it is no failure.
const GOAL_P99_MS: f64 = 250.0;

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let json = args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    let named = args.windows(2).find(|pair| pair[0] == "--attack").map(|pair| pair[1].clone()).unwrap_or_default();
    let choice = Choice { known: args.iter().any(|arg| arg == "--known"), named };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // Standard output is for the document alone when one is wanted.
    let tell: fn(&str) = if json { |line| eprintln!("{line}") } else { |line| println!("{line}") };
    let outcomes = runtime.block_on(hostile::run(&choice, tell));
    if json {
        println!("{}", document(&outcomes));
        return;
    }
    println!("\ngoal: p99 within {GOAL_P99_MS} ms, no failed call");
    for outcome in outcomes.iter().filter(|outcome| outcome.p99_ms > GOAL_P99_MS) {
        println!("p99 {:.0} ms during: {}", outcome.p99_ms, outcome.name);
    }
    for known in [false, true] {
        for success in hostile::successes(&outcomes, known) {
            println!("{}: {success}", if known { "known, succeeds still" } else { "SUCCEEDED" });
        }
    }
}

fn document(outcomes: &[Outcome]) -> serde_json::Value {
    let attacks: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "attack": outcome.name,
                "row": outcome.row,
                "known": outcome.known,
                "calls": outcome.calls,
                "failed": outcome.failed,
                "p50_ms": outcome.p50_ms,
                "p99_ms": outcome.p99_ms,
                "p99_within_goal": outcome.p99_ms <= GOAL_P99_MS,
                "answers": outcome.answers,
                "peak_mib": outcome.peak_mib,
                "after_mib": outcome.after_mib,
                "success": outcome.success,
            })
        })
        .collect();
    json!({ "goal_p99_ms": GOAL_P99_MS, "attacks": attacks })
}

//! `cargo xtask bench cache`: what a hit of the cache costs, and what it saves.
//!
//! A hit in the process beside a bare `moka` get, and a hit in Redis beside a bare `fred` GET of the same bytes, by turns;
//! GetUser of the users service from the tier in the process, from Redis and from PostgreSQL; and a thousand readers of a key
//! that no tier has. On private servers; all share one machine.
//!
//! Parts can be run alone: `cargo xtask bench cache -- in_process stampede`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

mod article;
mod in_process;
#[path = "../../e2e/processes.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod processes;
mod redis;
mod services;
mod stampede;
mod times;
#[path = "../sql/turns.rs"]
mod turns;

use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// The parts, in the order in which they run.
const PARTS: [&str; 4] = ["in_process", "redis", "services", "stampede"];

/// What some of the values should be. A goal is printed beside its value; missing it is no failure.
const GOALS: &[(&str, &str)] = &[
    ("in_process_hit_against_moka_get", "goal: at least 0.77 (1.3 times the cost)"),
    ("in_process_misses", "goal: 0, else what was timed was not all hits"),
    ("redis_hit_against_fred_get", "goal: at least 0.77 (1.3 times the cost)"),
    ("redis_misses", "goal: 0, else what was timed was not all hits"),
    ("stampede_in_process_loads", "goal: 1"),
    ("stampede_redis_loads", "goal: 1"),
];

/// What was measured, in order.
#[derive(Default)]
pub(crate) struct Values(Map<String, Value>);

impl Values {
    /// Adds a value.
    pub(crate) fn add(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(key.into(), value.into());
    }
}

/// To a thousandth.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    let chosen = match chosen(&arguments) {
        Ok(chosen) => chosen,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Values(values) = runtime.block_on(measure(&chosen));
    if json {
        println!("{}", json!(values));
        return ExitCode::SUCCESS;
    }
    for (key, value) in &values {
        let goal = GOALS.iter().find(|(goal, _)| goal == key).map_or("", |(_, goal)| *goal);
        println!("{}", format!("{key:<48} {:<20} {goal}", value.to_string()).trim_end());
    }
    ExitCode::SUCCESS
}

/// The parts that the arguments name; all of them when they name none.
fn chosen(arguments: &[String]) -> Result<Vec<&str>, String> {
    let is_value = |at: usize| at > 0 && arguments[at - 1] == "--output";
    let named = arguments.iter().enumerate().filter(|(at, argument)| !argument.starts_with("--") && !is_value(*at));
    let named: Vec<_> = named.map(|(_, argument)| argument.as_str()).collect();
    if let Some(unknown) = named.iter().find(|name| !PARTS.contains(*name)) {
        return Err(format!("there is no part `{unknown}`; take some of: {}", PARTS.join(", ")));
    }
    Ok(PARTS.into_iter().filter(|part| named.is_empty() || named.contains(part)).collect())
}

async fn measure(parts: &[&str]) -> Values {
    let mut values = Values::default();
    for part in parts {
        eprintln!("{part}");
        match *part {
            "in_process" => in_process::measure(&mut values).await,
            "redis" => redis::measure(&mut values).await,
            "services" => services::measure(&mut values).await,
            _ => stampede::measure(&mut values).await,
        }
    }
    values
}

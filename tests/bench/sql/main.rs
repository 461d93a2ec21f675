//! `cargo xtask bench sql`: what routing to shards and replicas costs, and what they give.
//!
//! Reads and writes by `Shards::route` beside the same statements on a bare `sqlx` pool, by turns; reads a second with none,
//! one and two replicas; the checks of consistency tokens and the lookup of a shard alone; sign-ins a second of the users
//! service; and a move of slots under load, beside the same load without it. On private servers that wait for the disk. All
//! share one machine, so that replicas add what its cores have left.
//!
//! Parts can be run alone: `cargo xtask bench sql -- routing moving`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

mod accounts;
mod lookup;
mod moving;
mod replicas;
mod routing;
mod sign_ins;
mod tokens;
mod turns;

use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// The parts, in the order in which they run.
const PARTS: [&str; 6] = ["routing", "replicas", "tokens", "lookup", "sign_ins", "moving"];

/// What some of the values should be. A goal is printed beside its value; missing it is no failure.
const GOALS: &[(&str, &str)] =
    &[("read_against_bare_pool", "goal: at least 0.97"), ("write_against_bare_pool", "goal: at least 0.97")];

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
        println!("{}", format!("{key:<44} {:<20} {goal}", value.to_string()).trim_end());
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
            "routing" => routing::measure(&mut values).await,
            "replicas" => replicas::measure(&mut values).await,
            "tokens" => tokens::measure(&mut values),
            "lookup" => lookup::measure(&mut values),
            "sign_ins" => sign_ins::measure(&mut values).await,
            _ => moving::measure(&mut values).await,
        }
    }
    values
}

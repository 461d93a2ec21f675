//! `cargo xtask bench saga`: how long an order takes from created to confirmed, under a load that doesn't wait for it.
//!
//! The load is `meshwork load` of the same binary, in a process of its own beside `meshwork up`: an open loop, so that a slow
//! saga is not asked less. Embedded; with JetStream and PostgreSQL as private servers that wait for the disk; with a
//! MongoDB-compatible server for the events beside them. And the memory of `up`.
//!
//! Parts can be run alone: `cargo xtask bench saga -- embedded postgres`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "a benchmark")]

mod embedded;
mod lag;
mod load;
mod memory;
mod servers;

use std::process::ExitCode;

use serde_json::{Map, Value, json};

/// The parts, in the order in which they run.
const PARTS: [&str; 4] = ["embedded", "postgres", "mongodb", "memory"];

/// What some of the values should be. A goal is printed beside its value; missing it is no failure.
const GOALS: &[(&str, &str)] = &[
    ("embedded_created_to_confirmed_ms_p99", "goal: at most 500 ms"),
    ("embedded_orders_not_confirmed", "goal: 0"),
    ("embedded_highest_rate", "goal: at least 300 a second"),
    ("embedded_projection_lag_ms_p99", "goal: at most 500 ms"),
    ("postgres_created_to_confirmed_ms_p99", "goal: at most 1000 ms"),
    ("postgres_orders_not_confirmed", "goal: 0"),
    ("mongodb_created_to_confirmed_ms_p99", "goal: at most 1000 ms"),
    ("mongodb_orders_not_confirmed", "goal: 0"),
    ("resident_mib_first_start", "goal: below 100 MiB"),
    ("resident_mib_next_start", "goal: below 100 MiB"),
    ("resident_mib_after_5000_orders", "goal: below 150 MiB"),
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
        println!("{}", format!("{key:<44} {:<10} {goal}", value.to_string()).trim_end());
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
            "embedded" => embedded::measure(&mut values).await,
            "postgres" => servers::measure(false, &mut values).await,
            "mongodb" => servers::measure(true, &mut values).await,
            _ => memory::measure(&mut values).await,
        }
    }
    values
}

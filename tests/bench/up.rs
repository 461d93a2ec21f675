//! `cargo xtask bench up`: the whole shop in one process.
//!
//! Time to ready, on a new data folder and on one that exists; and how many orders there can be a second. What an order
//! takes at a steady rate, and the memory, are measured by `cargo xtask bench saga`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "shop/mod.rs"]
mod shop;

use std::time::Instant;

use meshwork_testkit::Up;
use meshwork_testkit::up::UNLIMITED;
use serde_json::json;
use shop::Shop;

/// How often the start is timed.
const STARTS: usize = 7;
/// How many orders are placed.
const ORDERS: usize = 1_000;
/// What some of the values should be. A goal is printed beside its value; missing it is no failure.
const GOALS: &[(&str, &str)] = &[
    ("ready_ms_first_start", "goal: below 2000 ms"),
    ("ready_ms_next_start", "goal: below 2000 ms"),
    ("unlimited_orders_unconfirmed", "goal: 0"),
];

fn main() {
    let json = std::env::args().collect::<Vec<_>>().windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let result = runtime.block_on(measure());
    if json {
        println!("{result}");
    } else {
        for (key, value) in result.as_object().unwrap() {
            let goal = GOALS.iter().find(|(goal, _)| goal == key).map_or("", |(_, goal)| *goal);
            println!("{}", format!("{key:<44} {value:<10} {goal}").trim_end());
        }
    }
}

async fn measure() -> serde_json::Value {
    let fresh = median((0..STARTS).map(|_| start_time(tempfile::tempdir().unwrap().path())).collect());
    let folder = tempfile::tempdir().unwrap();
    start_time(folder.path());
    let again = median((0..STARTS).map(|_| start_time(folder.path())).collect());

    let up = Up::start(folder.path(), UNLIMITED);
    let burst = Shop::open(&up).await.run(ORDERS).await;
    json!({
        "ready_ms_first_start": fresh,
        "ready_ms_next_start": again,
        "unlimited_orders_per_second": burst.per_second,
        "unlimited_create_ms_p50": burst.create.value_at_quantile(0.50) as f64 / 1000.0,
        "unlimited_create_ms_p99": burst.create.value_at_quantile(0.99) as f64 / 1000.0,
        "unlimited_created_to_confirmed_ms_p99": burst.confirm.value_at_quantile(0.99) as f64 / 1000.0,
        "unlimited_orders_unconfirmed": burst.unconfirmed,
    })
}

/// How long a start takes until it says that it is ready, in milliseconds, seen from outside.
fn start_time(folder: &std::path::Path) -> u128 {
    let started = Instant::now();
    let mut up = Up::start(folder, &[]);
    let millis = started.elapsed().as_millis();
    assert!(up.stop().success(), "{}", up.log());
    millis
}

fn median(mut values: Vec<u128>) -> u64 {
    values.sort_unstable();
    u64::try_from(values[values.len() / 2]).unwrap()
}

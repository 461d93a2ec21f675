//! `cargo xtask bench up`: the whole shop in one process.
//!
//! Time to ready, on a new data folder and on one that exists; resident memory, idle and after 1,000 orders; and, for
//! orders at a steady rate and as many as there can be, orders per second and the time from created to confirmed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "shop/mod.rs"]
mod shop;

use std::time::{Duration, Instant};

use meshwork_testkit::Up;
use meshwork_testkit::up::UNLIMITED;
use serde_json::json;
use shop::Shop;

/// How often the start is timed.
const STARTS: usize = 7;
/// How many orders are placed before memory is read again.
const ORDERS: usize = 1_000;
/// The steady rate, in orders a second.
const RATE: f64 = 200.0;
/// How many orders the steady run places.
const STEADY: usize = 2_000;
/// What some of the values should be. A goal is printed beside its value; missing it is no failure.
const GOALS: &[(&str, &str)] = &[
    ("ready_ms_first_start", "goal: below 2000 ms"),
    ("ready_ms_next_start", "goal: below 2000 ms"),
    ("resident_mib_idle", "goal: below 150 MiB"),
    ("resident_mib_after_1000_orders", "goal: below 150 MiB"),
    ("steady_orders_per_second", "offered: 200 a second"),
    ("steady_created_to_confirmed_ms_p99", "goal: below 1000 ms"),
    ("unlimited_orders_unconfirmed", "goal: 0"),
    ("steady_orders_unconfirmed", "goal: 0"),
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
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = resident_mib(up.id());
    let shop = Shop::open(&up).await;
    let burst = shop.run(ORDERS, None).await;
    let loaded = resident_mib(up.id());
    let steady = shop.run(STEADY, Some(RATE)).await;
    json!({
        "ready_ms_first_start": fresh,
        "ready_ms_next_start": again,
        "resident_mib_idle": idle,
        "resident_mib_after_1000_orders": loaded,
        "resident_mib_at_the_end": resident_mib(up.id()),
        "unlimited_orders_per_second": burst.per_second,
        "unlimited_create_ms_p50": burst.create.value_at_quantile(0.50) as f64 / 1000.0,
        "unlimited_create_ms_p99": burst.create.value_at_quantile(0.99) as f64 / 1000.0,
        "unlimited_created_to_confirmed_ms_p99": burst.confirm.value_at_quantile(0.99) as f64 / 1000.0,
        "unlimited_orders_unconfirmed": burst.unconfirmed,
        "steady_orders_unconfirmed": steady.unconfirmed,
        "steady_orders_per_second": steady.per_second,
        "steady_create_ms_p50": steady.create.value_at_quantile(0.50) as f64 / 1000.0,
        "steady_create_ms_p99": steady.create.value_at_quantile(0.99) as f64 / 1000.0,
        "steady_created_to_confirmed_ms_p50": steady.confirm.value_at_quantile(0.50) as f64 / 1000.0,
        "steady_created_to_confirmed_ms_p99": steady.confirm.value_at_quantile(0.99) as f64 / 1000.0,
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

fn resident_mib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (kib / 1024.0 * 10.0).round() / 10.0
}

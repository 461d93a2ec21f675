//! `cargo xtask bench orders`: the event store and what stands on it.
//!
//! Appends beside plain inserts of the same documents into a collection with the same indexes and concerns, round by
//! round in one run; appends as the store grows; an aggregate of 500 events with and without a snapshot; rebuilding the
//! lists; orders through the whole shop, embedded and on servers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "../shop/mod.rs"]
mod shop;

mod appends;
mod growth;
mod lists;
mod snapshots;

use hdrhistogram::Histogram;
use meshwork_testkit::up::UNLIMITED;
use meshwork_testkit::{Mongo, Postgres, Up};
use serde_json::{Map, Value, json};
use shop::Shop;

/// How many orders go through each shop.
const ORDERS: usize = 500;

/// What some of the values should be. A goal is printed beside its value; missing it is no failure.
const GOALS: &[(&str, &str)] = &[
    ("append_cost_against_insert", "goal: at most 1.25"),
    ("aggregate_of_500_ms_sqlite_snapshot", "goal: at most 10 ms"),
    ("aggregate_of_500_ms_server_snapshot", "goal: at most 10 ms"),
];

/// What was measured, in order.
pub(crate) type Values = Map<String, Value>;

fn main() {
    let json = std::env::args().collect::<Vec<_>>().windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let values = runtime.block_on(measure());
    if json {
        println!("{}", Value::Object(values));
        return;
    }
    for (key, value) in &values {
        let goal = GOALS.iter().find(|(goal, _)| goal == key).map_or("", |(_, goal)| *goal);
        println!("{}", format!("{key:<48} {:<24} {goal}", value.to_string()).trim_end());
    }
}

async fn measure() -> Values {
    let mut values = Values::new();
    let mongo = tokio::task::spawn_blocking(Mongo::durable).await.unwrap();
    let postgres = tokio::task::spawn_blocking(Postgres::durable).await.unwrap();
    values.insert("server".to_owned(), json!(mongo.kind()));
    appends::measure(&mongo, &mut values).await;
    snapshots::measure(&mongo, &mut values).await;
    lists::measure(&postgres, &mut values).await;
    shops(&mongo, &postgres, &mut values).await;
    growth::measure(&mongo, &mut values).await;
    values
}

/// Orders through the whole shop.
async fn shops(mongo: &Mongo, postgres: &Postgres, values: &mut Values) {
    let url = postgres.database();
    let servers = [("MESHWORK_ORDERS__MONGO__URI", mongo.uri()), ("MESHWORK_ORDERS__POSTGRES__URL", &url)];
    for (place, stores) in [("embedded", &[][..]), ("servers", &servers[..])] {
        let folder = tempfile::tempdir().unwrap();
        let up = Up::start(folder.path(), &[UNLIMITED, stores].concat());
        if !stores.is_empty() {
            mongo.index("meshwork_orders");
        }
        let shop = Shop::open(&up).await;
        let run = shop.run(ORDERS).await;
        values.insert(format!("create_order_ms_p50_{place}"), millis(&run.create, 0.5));
        values.insert(format!("create_order_ms_p99_{place}"), millis(&run.create, 0.99));
        values.insert(format!("created_to_confirmed_ms_p99_{place}"), millis(&run.confirm, 0.99));
        values.insert(format!("orders_per_second_{place}"), json!(run.per_second));
        values.insert(format!("orders_unconfirmed_{place}"), json!(run.unconfirmed));
    }
}

/// A quantile of microseconds, in milliseconds.
pub(crate) fn millis(histogram: &Histogram<u64>, quantile: f64) -> Value {
    json!(rounded(histogram.value_at_quantile(quantile) as f64 / 1000.0))
}

/// To two digits behind the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

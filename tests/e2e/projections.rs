//! `meshwork projections`: how the lists of orders are, made anew under load, and taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use meshwork_api::meshwork::orders::v1::ListOrdersRequest;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_testkit::up::{Token, UNLIMITED, text, with};
use meshwork_testkit::{Mongo, Postgres, Up};
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::shop::{eventually, order_request, stocked_product};
use crate::stores::on;

/// Runs `meshwork projections …` at the gateway; the staff account is found by itself.
fn projections(up: &Up, args: &[&str]) -> std::process::Output {
    let target = format!("http://{}", up.address("gateway"));
    up.run([&["projections"], args, &["--target", &target]].concat())
}

/// The JSON that a command has printed.
#[track_caller]
fn json(up: &Up, args: &[&str]) -> Value {
    let output = projections(up, &[args, &["--output", "json"]].concat());
    assert!(output.status.success(), "{args:?}: {}\n{}", text(&output.stderr), up.log());
    let printed = text(&output.stdout);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// The version that queries read.
#[track_caller]
fn live(up: &Up) -> i64 {
    let status = json(up, &["status", "orders"]);
    let versions = status["versions"].as_array().unwrap();
    let live: Vec<_> = versions.iter().filter(|version| version["state"] == "live").collect();
    assert_eq!(live.len(), 1, "{status}");
    live[0]["version"].as_i64().unwrap()
}

async fn place(channel: &Channel, customer: &Token, product: &str) {
    let request = with(customer, order_request(product, 1, &Uuid::new_v4().to_string()));
    OrderServiceClient::new(channel.clone()).create_order(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_positions_lags_and_what_is_parked() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "shown", 10).await;
    let (_, customer) = up.customer("viewer").await;
    place(&up.channel(), &customer, &product).await;
    let caught_up = async || {
        let status = json(&up, &["status", "orders"]);
        let partitions = status["versions"][0]["partitions"].as_array().unwrap();
        partitions.iter().all(|partition| partition["lag"] == 0)
            && partitions.iter().any(|partition| partition["head"].as_i64().unwrap() > 0)
    };
    eventually("the lists at the head", caught_up).await;
    let printed = projections(&up, &["status", "orders"]);
    let table = text(&printed.stdout);
    assert!(printed.status.success() && printed.stderr.is_empty(), "{}", text(&printed.stderr));
    assert!(table.starts_with("projections/orders\n") && table.contains("nothing is parked"), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains("  live  ")).count(), 4, "{table}");

    for args in [&["status", "customers"][..], &["retry", "orders", "orders/none"]] {
        let refused = projections(&up, args);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.starts_with("error: "), "{args:?}: {said}");
        assert!(refused.stdout.is_empty(), "{args:?}: {}", text(&refused.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn es_6_a_rebuild_under_load_switches_with_equal_rows_and_can_be_taken_back() {
    rebuild_under_load(UNLIMITED, || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn es_6_a_rebuild_under_load_switches_with_equal_rows_on_servers() {
    let (mongo, postgres) = (Mongo::start(), Postgres::start());
    let (database, lists) = (mongo.database(), postgres.database());
    rebuild_under_load(&on(mongo.uri(), &database, &lists), || mongo.index(&database)).await;
}

/// `opened` is called after the start.
async fn rebuild_under_load(settings: &[(&str, &str)], opened: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    let up = Arc::new(Up::start(folder.path(), settings));
    opened();
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "rebuilt", 1_000_000).await;
    let (_, customer) = up.customer("builder").await;
    for _ in 0..50 {
        place(&up.channel(), &customer, &product).await;
    }

    // Orders are placed and listed all the time; no call fails, and no list has fewer orders than one before it
    // or lacks what was the newest.
    let (stop, lists) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for _ in 0..2 {
        let (channel, customer, product, stop) = (up.channel(), customer.clone(), product.clone(), stop.clone());
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                place(&channel, &customer, &product).await;
            }
        });
    }
    let (channel, reader, stopped, count) = (up.channel(), staff.clone(), stop.clone(), lists.clone());
    load.spawn(async move {
        let (mut client, mut most, mut newest) = (OrderServiceClient::new(channel), 0, (0, 0));
        while !stopped.load(Ordering::Relaxed) {
            let request = with(&reader, ListOrdersRequest { page_size: 200, ..Default::default() });
            let orders = client.list_orders(request).await.unwrap().into_inner().orders;
            assert!(orders.len() >= most, "a list of {} orders after one of {most}", orders.len());
            let made = orders[0].create_time.map(|at| (at.seconds, at.nanos)).unwrap();
            assert!(made >= newest, "a list that ends at {made:?} after one at {newest:?}");
            (most, newest) = (orders.len(), made);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });

    let before = live(&up);
    let shop = up.clone();
    let rebuilt = tokio::task::spawn_blocking(move || json(&shop, &["rebuild", "orders"])).await.unwrap();
    assert_eq!(rebuilt["differing_rows"], 0, "{rebuilt}");
    assert!(rebuilt["compared_rows"].as_i64().unwrap() >= 50, "{rebuilt}");
    assert!(rebuilt["applied_commits"].as_i64().unwrap() >= 50, "{rebuilt}");
    assert_eq!(rebuilt["previous_version"], before, "{rebuilt}");
    assert_eq!(live(&up), rebuilt["version"].as_i64().unwrap());
    let shop = up.clone();
    let back = tokio::task::spawn_blocking(move || json(&shop, &["rollback", "orders"])).await.unwrap();
    assert_eq!(back["version"], before, "{back}");
    assert_eq!(live(&up), before);

    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    assert!(lists.load(Ordering::Relaxed) > 0, "nobody has listed orders meanwhile");
}

//! The shop with its orders on servers: events on a MongoDB, or one that speaks its protocol, lists on a PostgreSQL.

use std::time::Duration;

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{DeliverOrderRequest, GetOrderRequest, ShipOrderRequest, WatchOrderRequest};
use meshwork_testkit::up::{Token, UNLIMITED, text, with};
use meshwork_testkit::{Mongo, Postgres, Up};
use serde_json::Value;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;

use crate::crashes::{
    BURST, Journal, ask_again, check, kills_at_any_moment, note_rest, nothing_is_lost, of_round, place,
};
use crate::shop::{eventually, order_request, settled_order, stocked_product};

/// Settings that keep the events of orders in `database` of the server at `uri`, and the lists in the database at `lists`.
pub fn on<'s>(uri: &'s str, database: &'s str, lists: &'s str) -> Vec<(&'s str, &'s str)> {
    let stores = [
        ("MESHWORK_ORDERS__MONGO__URI", uri),
        ("MESHWORK_ORDERS__MONGO__DATABASE", database),
        ("MESHWORK_ORDERS__POSTGRES__URL", lists),
    ];
    UNLIMITED.iter().copied().chain(stores).collect()
}

#[test]
fn the_demo_runs_on_servers() {
    let (mongo, postgres, folder) = (Mongo::start(), Postgres::start(), tempfile::tempdir().unwrap());
    let (database, lists) = (mongo.database(), postgres.database());
    let up = Up::start(folder.path(), &on(mongo.uri(), &database, &lists));
    let places: Vec<_> = up.output().lines().filter(|line| line.starts_with("order ")).collect();
    assert!(places[0].contains("MongoDB") && places[0].contains(&database), "{}", up.output());
    assert!(places[1].contains("PostgreSQL"), "{}", up.output());
    let target = format!("http://{}", up.address("gateway"));
    let demo = up.run(["demo", "--target", &target, "--output", "json"]);
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), up.log());
    let outcome: Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert_eq!(outcome["state"], "CONFIRMED", "{outcome}");
    // They are there, and only there.
    assert!(!up.data().join("orders/view.db").exists());
    assert!(!up.data().join("orders/events.db").exists());
}

#[test]
fn the_server_is_named_by_a_flag_and_its_secrets_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = meshwork_testkit::up::command(folder.path());
    let config = config.args(["config", "--mongo", "mongodb://anna:very-secret@127.0.0.1:9/"]).output().unwrap();
    let printed = text(&config.stdout);
    assert!(config.status.success(), "{}", text(&config.stderr));
    assert!(printed.contains("uri = \"[redacted]\" # flag --mongo"), "{printed}");
    assert!(!printed.contains("very-secret"), "{printed}");
    let mut refused = meshwork_testkit::up::command(folder.path());
    let refused = refused.args(["migrate", "--mongo", "http://anna:very-secret@127.0.0.1:9/"]).output().unwrap();
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("orders.mongo.uri"), "{said}");
    assert!(!said.contains("very-secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_lose_nothing_on_servers() {
    let (mongo, postgres) = (Mongo::start(), Postgres::start());
    let (database, lists) = (mongo.database(), postgres.database());
    let kills = if crate::full() { 30 } else { 6 };
    kills_at_any_moment(&on(mongo.uri(), &database, &lists), kills, || mongo.index(&database)).await;
}

/// Waits until orders can be read; says nothing about which there are.
async fn readable(up: &Up, customer: &Token, name: &str) {
    eventually("orders to be read again", async || {
        let request = with(customer, GetOrderRequest { name: name.to_owned(), ..Default::default() });
        match OrderServiceClient::new(up.channel()).get_order(request).await {
            Ok(_) => true,
            Err(status) => matches!(status.code(), Code::NotFound | Code::PermissionDenied),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_servers_under_load_lose_nothing_and_double_nothing() {
    let (mut mongo, mut postgres) = (Mongo::private(), Postgres::private());
    let (uri, database, lists) = (mongo.uri().to_owned(), mongo.database(), postgres.database());
    let settings = on(&uri, &database, &lists);
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &settings);
    mongo.index(&database);
    let kills = if crate::full() { 12 } else { 3 };
    let staff = up.staff().await;
    let pieces = i64::try_from(kills * BURST).unwrap();
    let product = stocked_product(&up, &staff, "lost", pieces).await;
    let (_, customer) = up.customer("survivor").await;

    let mut journal = Journal::new();
    for round in 0..kills {
        let mut answered = place(&up, &mut journal, &customer, &product, round);
        for _ in 0..4 {
            let answer = tokio::time::timeout(Duration::from_secs(30), answered.recv()).await.unwrap();
            let (id, order) = answer.expect("the shop took too few orders");
            journal.get_mut(&id).unwrap().answer = Some(order);
        }
        mongo.kill();
        postgres.kill();
        postgres.restart();
        mongo.restart();
        note_rest(&mut journal, answered).await;
        let this_round = of_round(&journal, round);
        let answered = this_round.iter().find_map(|id| journal[id].answer.as_ref()).unwrap();
        readable(&up, &customer, &answered.name).await;
        nothing_is_lost(&up, &journal, &this_round, &customer).await;
        ask_again(&up, &mut journal, &this_round, &customer, &product).await;
    }
    assert!(check(&up, &journal, &staff, &customer, &product, pieces).await > 0);
}

/// The names of all events of an order, as a watcher gets them that goes on by its token whenever its stream breaks, at
/// whatever address the shop is by then.
async fn watched(mut shop: watch::Receiver<Channel>, customer: Token, name: String) -> Vec<String> {
    let (mut events, mut resume_token) = (Vec::new(), String::new());
    loop {
        let channel = shop.borrow_and_update().clone();
        let request = WatchOrderRequest { name: name.clone(), resume_token: resume_token.clone() };
        if let Ok(stream) = OrderServiceClient::new(channel).watch_order(with(&customer, request)).await {
            let mut stream = stream.into_inner();
            loop {
                match stream.message().await {
                    Ok(Some(response)) => {
                        events.push(response.order_event.unwrap().name);
                        resume_token = response.resume_token;
                    }
                    Ok(None) => return events,
                    Err(_) => break,
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_over_kills_and_while_the_server_hangs() {
    let (mongo, postgres) = (Mongo::private(), Postgres::start());
    let (database, lists) = (mongo.database(), postgres.database());
    let settings = on(mongo.uri(), &database, &lists);
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &settings);
    mongo.index(&database);
    let staff = up.staff().await;
    let product = stocked_product(&up, &staff, "watched", 10).await;
    let (_, customer) = up.customer("watcher").await;
    let (told, shop) = watch::channel(up.channel());
    let request = with(&customer, order_request(&product, 1, &uuid::Uuid::new_v4().to_string()));
    let name = OrderServiceClient::new(up.channel()).create_order(request).await.unwrap().into_inner().name;
    let watchers: Vec<_> =
        (0..3).map(|_| tokio::spawn(watched(shop.clone(), customer.clone(), name.clone()))).collect();

    up.kill();
    up = Up::start(folder.path(), &settings);
    told.send_replace(up.channel());
    settled_order(up.channel(), &customer, &name).await;
    mongo.freeze();
    let request = with(
        &customer,
        GetOrderRequest { name: "orders/7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d".to_owned(), ..Default::default() },
    );
    let refused = OrderServiceClient::new(up.channel()).get_order(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    mongo.thaw();
    eventually("the order to be shipped", async || {
        let request = ShipOrderRequest { name: name.clone(), tracking_number: "T-1".to_owned(), ..Default::default() };
        OrderServiceClient::new(up.channel()).ship_order(with(&staff, request)).await.is_ok()
    })
    .await;
    up.kill();
    up = Up::start(folder.path(), &settings);
    told.send_replace(up.channel());
    eventually("the order to be delivered", async || {
        let request = DeliverOrderRequest { name: name.clone(), ..Default::default() };
        OrderServiceClient::new(up.channel()).deliver_order(with(&staff, request)).await.is_ok()
    })
    .await;
    let all: Vec<_> = (1..=5).map(|version| format!("{name}/events/{version}")).collect();
    for watcher in watchers {
        let seen = tokio::time::timeout(crate::shop::PATIENCE, watcher).await.expect("the watch to end").unwrap();
        assert_eq!(seen, all);
    }
}

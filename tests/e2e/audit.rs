//! `meshwork audit`: it finds nothing in a sound shop, and names what somebody has damaged by hand.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CancelOrderRequest, DeliverOrderRequest, Order, ShipOrderRequest, order};
use meshwork_sql::Sqlite;
use meshwork_testkit::Up;
use meshwork_testkit::up::{Token, UNLIMITED, command, text, with};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{eventually, get_order, order_request, settled_order, stocked_product};

/// A shop with an order in each state that is an end, or nearly one.
struct Shop {
    up: Up,
    product: String,
    confirmed: Order,
    rejected: Order,
    cancelled: Order,
    shipped: Order,
    delivered: Order,
}

impl Shop {
    async fn open(folder: &Path) -> Self {
        let up = Up::start(folder, UNLIMITED);
        let staff = up.staff().await;
        let product = stocked_product(&up, &staff, "audited", 20).await;
        let (_, customer) = up.customer("anna").await;
        let placed = async |quantity| {
            let mut orders = OrderServiceClient::new(up.channel());
            let request = order_request(&product, quantity, &Uuid::new_v4().to_string());
            let order = orders.create_order(with(&customer, request)).await.unwrap().into_inner();
            settled_order(up.channel(), &customer, &order.name).await
        };
        let (confirmed, rejected) = (placed(1).await, placed(100).await);
        assert_eq!(rejected.state(), order::State::Rejected);
        let (cancelled, shipped, delivered) = (placed(2).await, placed(3).await, placed(4).await);
        let cancel = CancelOrderRequest { name: cancelled.name.clone(), ..CancelOrderRequest::default() };
        OrderServiceClient::new(up.channel()).cancel_order(with(&customer, cancel)).await.unwrap();
        ship(&up, &staff, &shipped).await;
        ship(&up, &staff, &delivered).await;
        let deliver = DeliverOrderRequest { name: delivered.name.clone(), ..DeliverOrderRequest::default() };
        OrderServiceClient::new(up.channel()).deliver_order(with(&staff, deliver)).await.unwrap();
        Self { up, product, confirmed, rejected, cancelled, shipped, delivered }
    }
}

async fn ship(up: &Up, staff: &Token, order: &Order) {
    let tracking_number = "TRACK-1".to_owned();
    let ship = ShipOrderRequest { name: order.name.clone(), tracking_number, ..ShipOrderRequest::default() };
    OrderServiceClient::new(up.channel()).ship_order(with(staff, ship)).await.unwrap();
}

/// The verdict on an invariant.
fn verdict<'v>(audit: &'v Value, id: &str) -> &'v Value {
    let invariants = audit["invariants"].as_array().unwrap();
    invariants.iter().find(|invariant| invariant["id"] == id).unwrap_or_else(|| panic!("{id} is missing: {audit}"))
}

/// What an audit prints that finds something.
fn found(up: &Up, args: &[&str]) -> Value {
    let target = format!("http://{}", up.address("gateway"));
    let audited = up.run([&["audit", "--output", "json", "--target", target.as_str()], args].concat());
    let (said, printed) = (text(&audited.stderr), text(&audited.stdout));
    assert_eq!(audited.status.code(), Some(1), "{said}{printed}");
    assert!(said.contains("violated"), "{said}");
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// The lines of a history: a call, and the answer that it was carried out.
fn history(method: &str, request: &str, order: &Order, asked: Value) -> String {
    let (call, time) = (Uuid::new_v4(), "2026-01-02T03:04:05Z");
    let sum = order.total.as_ref().unwrap();
    let total = json!({ "currency_code": sum.currency_code, "units": sum.units, "nanos": sum.nanos });
    let mut sent = json!({
        "kind": "call", "call": call, "request": request, "time": time, "method": method, "customer": order.customer,
    });
    sent.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
    let answer = json!({
        "kind": "answer", "call": call, "time": time, "status": "OK", "unknown": false, "order": order.name,
        "state": "PENDING", "etag": "\"v1\"", "total": total,
    });
    format!("{sent}\n{answer}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_shop_is_found_sound_and_what_it_has_answered_is_held_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(folder.path()).await;
    let audit = shop.up.audit(None);
    assert_eq!(audit["violated"], 0);
    for id in ["I1", "I2", "I3", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I14"] {
        let verdict = verdict(&audit, id);
        assert_eq!(verdict["verdict"], "holds", "{verdict}");
        assert!(verdict["checked"].as_u64().unwrap() > 0, "{verdict}");
    }
    assert_eq!(verdict(&audit, "I4")["verdict"], "not_judged");
    assert_eq!(verdict(&audit, "I15")["verdict"], "holds");

    let path = folder.path().join("history");
    let run =
        json!({ "kind": "run", "run": Uuid::new_v4(), "time": "2026-01-02T03:04:05Z", "rate": 1.0, "seconds": 1 });
    let lines = |quantity: i64| json!({ "lines": [{ "product": shop.product, "quantity": quantity }] });
    let named = |order: &Order| json!({ "order": order.name });
    let mut records = format!("{run}\n");
    records += &history("CreateOrder", "one", &shop.confirmed, lines(1));
    records += &history("CreateOrder", "one", &shop.confirmed, lines(1));
    records += &history("CancelOrder", "two", &shop.cancelled, named(&shop.cancelled));
    records += &history("ShipOrder", "three", &shop.delivered, named(&shop.delivered));
    records += &history("DeliverOrder", "four", &shop.delivered, named(&shop.delivered));
    // As a crash of who writes it leaves it.
    std::fs::write(&path, format!("{records}{{\"kind\":\"ca")).unwrap();
    let audit = shop.up.audit(Some(&path));
    assert_eq!(verdict(&audit, "I4")["checked"], 4);

    let gone = Order { name: format!("orders/{}", Uuid::new_v4()), ..shop.confirmed.clone() };
    records += &history("CreateOrder", "five", &gone, lines(1));
    records += &history("CreateOrder", "one", &shop.shipped, lines(1));
    std::fs::write(&path, &records).unwrap();
    let audit = found(&shop.up, &["--history", path.to_str().unwrap(), "--settle", "0s"]);
    assert_eq!(audit["violated"], 2, "{audit}");
    assert!(verdict(&audit, "I4")["examples"].to_string().contains(&gone.name), "{audit}");
    assert_eq!(verdict(&audit, "I11")["examples"][0]["subject"], "request one");
}

/// Changes a database by hand; `?` stands for `value`. One row is changed.
async fn damage(file: &Path, sql: &'static str, value: &str) {
    let db = Sqlite::open(file, &[]).await.unwrap();
    let value = value.to_owned();
    let changed = db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
        Box::pin(async move { Ok(sqlx::query(sql).bind(value).execute(connection).await?.rows_affected()) })
    });
    assert_eq!(changed.await.unwrap(), 1, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_by_hand_is_named_by_the_invariant_that_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let Shop { mut up, product, confirmed, rejected, cancelled, shipped, delivered } = Shop::open(folder.path()).await;
    up.audit(None);
    up.stop();

    let data = up.data();
    let id = |order: &Order| order.name.strip_prefix("orders/").unwrap().to_owned();
    let product_id = product.strip_prefix("products/").unwrap();
    let stock = "UPDATE stock SET available = available - 1, held = held + 1 WHERE product = ?";
    damage(&data.join("products/products.db"), stock, product_id).await;
    let reservation = "UPDATE reservation SET state = 'RELEASED' WHERE order_id = ?";
    damage(&data.join("products/products.db"), reservation, &id(&delivered)).await;
    let message = "UPDATE messages SET data = x'00' WHERE subject = ? AND version = 2";
    damage(&data.join("bus/bus.db"), message, &confirmed.name).await;
    let inbox = "UPDATE inbox SET last_version = last_version - 1 WHERE consumer = 'notifications' AND subject = ?";
    damage(&data.join("notifications/notifications.db"), inbox, &cancelled.name).await;
    let row = "UPDATE orders SET body = replace(body, 'TRACK-1', 'TRACK-2') WHERE id = ?";
    damage(&data.join("orders/view.db"), row, &id(&shipped)).await;
    let column = "UPDATE orders SET state = 'DELIVERED' WHERE id = ?";
    damage(&data.join("orders/view.db"), column, &id(&shipped)).await;
    let letter = "DELETE FROM notification WHERE about = ? AND template = 'order_rejected'";
    damage(&data.join("notifications/notifications.db"), letter, &rejected.name).await;

    let up = Up::start(folder.path(), UNLIMITED);
    let staff = up.staff().await;
    eventually("orders to be read", async || {
        get_order(up.channel(), &staff, &confirmed.name).await.state() == order::State::Confirmed
    })
    .await;
    let audit = found(&up, &["--settle", "2s"]);
    let wanted = [
        ("I2", product.as_str()),
        ("I6", delivered.name.as_str()),
        ("I8", confirmed.name.as_str()),
        ("I9", cancelled.name.as_str()),
        ("I10", shipped.name.as_str()),
        ("I14", rejected.name.as_str()),
    ];
    for (id, subject) in wanted {
        let subjects: Vec<_> =
            verdict(&audit, id)["examples"].as_array().unwrap().iter().map(|example| &example["subject"]).collect();
        assert!(!subjects.is_empty() && subjects.iter().all(|named| **named == subject), "{audit}");
    }
    // Lists show it by its body, and are narrowed by its column.
    let shown = verdict(&audit, "I10")["examples"].to_string();
    assert!(shown.contains("another tracking_number") && shown.contains("listed with state = DELIVERED"), "{audit}");
    let invariants = audit["invariants"].as_array().unwrap().iter();
    let violated: BTreeSet<_> =
        invariants.filter(|of| of["verdict"] == "violated").map(|of| of["id"].as_str().unwrap()).collect();
    assert_eq!(violated, wanted.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>());

    // People are told the same.
    let target = format!("http://{}", up.address("gateway"));
    let audited = up.run(["audit", "--target", &target, "--settle", "0s"]);
    let printed = text(&audited.stdout);
    assert!(printed.lines().any(|line| line.starts_with("I2   VIOLATED")), "{printed}");
    assert!(printed.lines().any(|line| line.trim_start().starts_with(&format!("{}: ", rejected.name))), "{printed}");
}

#[test]
fn an_account_that_is_refused_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    let (wrong, target) = (folder.path().join("wrong.json"), format!("http://{}", up.address("gateway")));
    std::fs::write(&wrong, r#"{"email": "nobody@example.com", "password": "a wrong password"}"#).unwrap();
    let begin = Instant::now();
    let args = ["audit", "--settle", "5m", "--target", &target, "--staff-credentials", wrong.to_str().unwrap()];
    let refused = up.run(args);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("e-mail address"), "{}", text(&refused.stderr));
    assert!(begin.elapsed() < Duration::from_secs(60), "it has taken {:?}", begin.elapsed());
}

#[test]
fn a_shop_that_can_not_be_judged_is_no_sound_one() {
    let folder = tempfile::tempdir().unwrap();
    let no_account = command(folder.path()).args(["audit", "--target", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(no_account.status.code(), Some(2), "{}", text(&no_account.stderr));
    assert!(text(&no_account.stderr).contains("--staff-credentials"), "{}", text(&no_account.stderr));
    let history = folder.path().join("history");
    std::fs::write(&history, "{}\n").unwrap();
    let no_history = command(folder.path()).args(["audit", "--history"]).arg(&history).output().unwrap();
    assert_eq!(no_history.status.code(), Some(2));
    assert!(text(&no_history.stderr).contains("line 1 of the history"), "{}", text(&no_history.stderr));
}

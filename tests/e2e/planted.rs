//! Planted bugs: the audit finds each of them, and nothing where none is planted.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CancelOrderRequest, Order, ShipOrderRequest};
use meshwork_testkit::up::{Token, UNLIMITED, with};
use meshwork_testkit::{Postgres, Up};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::proof::Audit;
use crate::shop::{eventually, order_request, settled_order, stocked_product};

/// How long a sound shop may take to settle, and how long one with a bug is looked at.
const SOUND: &str = "60s";
const BROKEN: &str = "3s";

/// How often an order is asked for that is to end the process, and the pause between: longer than the end is waited for.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(250);

/// How many orders show most bugs.
const FEW: usize = 6;
/// How many orders have their pieces moved at once until two are in each other's way.
const MANY: usize = 160;

/// A shop with something planted.
struct Shop {
    up: Up,
    folder: TempDir,
    product: String,
    name: String,
    customer: Token,
    staff: Token,
    is_broken: bool,
}

/// What is planted: what must be borne, and a bug.
fn plant(adversity: &str, bug: Option<&str>) -> String {
    let names = [adversity, bug.unwrap_or_default()];
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(",")
}

fn settings<'s>(planted: &'s str, more: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
    UNLIMITED.iter().chain(more).copied().chain([("MESHWORK_PLANTED", planted)]).collect()
}

impl Shop {
    /// Opens a shop with a product and a customer.
    async fn open(adversity: &str, bug: Option<&str>, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let up = Up::start(folder.path(), &settings(&plant(adversity, bug), more));
        let staff = up.staff().await;
        let product = stocked_product(&up, &staff, "planted", 1_000).await;
        let (name, customer) = up.customer("gardener").await;
        Self { up, folder, product, name, customer, staff, is_broken: bug.is_some() }
    }

    async fn create(&self, request_id: &str) -> Order {
        create(self.up.channel(), &self.customer, &self.product, request_id).await.unwrap()
    }

    /// Places orders at once, and returns their names.
    async fn place(&self, count: usize) -> Vec<String> {
        let mut orders = JoinSet::new();
        for _ in 0..count {
            let (channel, customer, product) = (self.up.channel(), self.customer.clone(), self.product.clone());
            orders.spawn(async move { create(channel, &customer, &product, &Uuid::new_v4().to_string()).await });
        }
        orders.join_all().await.into_iter().map(|order| order.unwrap().name).collect()
    }

    /// Waits until orders have nothing to wait for.
    async fn settle(&self, orders: &[String]) {
        for order in orders {
            settled_order(self.up.channel(), &self.customer, order).await;
        }
    }

    /// The audit finds a fitting violation where a bug is planted, and none where there is no bug.
    fn judge(&self, history: Option<&Path>, fitting: &[&str]) {
        if self.is_broken {
            Audit::of_up(&self.up, history, BROKEN).finds(fitting);
        } else {
            Audit::of_up(&self.up, history, SOUND).holds();
        }
    }
}

async fn create(channel: Channel, customer: &Token, product: &str, id: &str) -> Result<Order, tonic::Status> {
    let request = with(customer, order_request(product, 1, id));
    Ok(OrderServiceClient::new(channel).create_order(request).await?.into_inner())
}

/// A few orders are confirmed and allocated.
async fn a_few_orders(bug: Option<&str>, fitting: &[&str]) {
    let shop = Shop::open("", bug, &[]).await;
    let orders = shop.place(FEW).await;
    shop.settle(&orders).await;
    shop.judge(None, fitting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_orders_leave_nothing_to_find() {
    a_few_orders(None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_skips_events_is_found() {
    a_few_orders(Some("relay_skips"), &["I8"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_publishes_twice_is_found() {
    a_few_orders(Some("publishes_twice"), &["I8"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_without_an_inbox_is_found() {
    a_few_orders(Some("no_inbox"), &["I9"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_pass_over_events_are_found() {
    a_few_orders(Some("projection_skips"), &["I10", "I15"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shipping_before_the_allocation_is_found() {
    a_few_orders(Some("ship_before_allocation"), &["I6"]).await;
}

/// The process ends between the inbox and the effect, while the first event of the first order is handled.
async fn crashed_before_the_effect(bug: Option<&str>) {
    let mut shop = Shop::open("", bug, &[]).await;
    assert!(shop.up.stop().success(), "{}", shop.up.log());
    let planted = plant("", bug);
    let armed = settings(&planted, &[("MESHWORK_CRASH_POINT", "products::gated:1")]);
    shop.up = Up::start(shop.folder.path(), &armed);
    // One request, made again until the process has ended: right after a start a service may be away still.
    let (channel, customer, product) = (shop.up.channel(), shop.customer.clone(), shop.product.clone());
    let asked = tokio::spawn(async move {
        let request = Uuid::new_v4().to_string();
        for _ in 0..TRIES {
            if let Err(status) = create(channel.clone(), &customer, &product, &request).await {
                println!("no order yet, or no answer any more: {status}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    let status = shop.up.wait();
    asked.abort();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "the crash point was not met: {status}");
    shop.up = Up::start(shop.folder.path(), &settings(&planted, &[]));
    shop.judge(None, &["I5", "I9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_effect_leaves_nothing_to_find() {
    crashed_before_the_effect(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_before_the_effect_is_found() {
    crashed_before_the_effect(Some("acknowledges_first")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_outside_of_the_transaction_is_found() {
    crashed_before_the_effect(Some("inbox_apart")).await;
}

/// The inventory's answer to a confirmation is lost: the order has to ask for it.
async fn lost_allocations(bug: Option<&str>) {
    let impatient = [("MESHWORK_ORDERS__RESERVATION_TIMEOUT", "1s"), ("MESHWORK_ORDERS__WATCHDOG_INTERVAL", "100ms")];
    let shop = Shop::open("loses_allocations", bug, &impatient).await;
    let orders = shop.place(FEW).await;
    if bug.is_none() {
        shop.settle(&orders).await;
    }
    shop.judge(None, &["I5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_allocation_leaves_nothing_to_find() {
    lost_allocations(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_for_pending_orders_alone_is_found() {
    lost_allocations(Some("watchdog_only_pending")).await;
}

/// An order is shipped between the decision to cancel it and the commit of that.
async fn shipped_meanwhile(bug: Option<&str>) {
    let shop = Shop::open("slow_cancels", bug, &[]).await;
    let orders = shop.place(1).await;
    shop.settle(&orders).await;
    let name = orders[0].clone();
    let (channel, customer) = (shop.up.channel(), shop.customer.clone());
    let cancel = CancelOrderRequest { name: name.clone(), ..CancelOrderRequest::default() };
    let cancelled =
        tokio::spawn(async move { OrderServiceClient::new(channel).cancel_order(with(&customer, cancel)).await });
    eventually("the decision to cancel", async || shop.up.log().contains("planted: a cancellation is slow")).await;
    let ship = ShipOrderRequest { name, tracking_number: "T-1".to_owned(), ..ShipOrderRequest::default() };
    OrderServiceClient::new(shop.up.channel()).ship_order(with(&shop.staff, ship)).await.unwrap();
    let cancelled = cancelled.await.unwrap();
    assert_eq!(cancelled.is_ok(), bug.is_some(), "{cancelled:?}");
    shop.judge(None, &["I6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_is_overtaken_leaves_nothing_to_find() {
    shipped_meanwhile(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_check_versions_is_found() {
    shipped_meanwhile(Some("no_version_check")).await;
}

/// A request comes twice, and its client writes down both answers.
async fn asked_twice(bug: Option<&str>) {
    let shop = Shop::open("", bug, &[]).await;
    let now = || OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let mut history =
        format!("{}\n", json!({"kind": "run", "run": Uuid::new_v4(), "time": now(), "rate": 1.0, "seconds": 1}));
    let (request, mut orders) = (Uuid::new_v4().to_string(), Vec::new());
    for _ in 0..2 {
        let (call, asked) = (Uuid::new_v4(), now());
        let order = shop.create(&request).await;
        let lines = [json!({"product": shop.product, "quantity": 1})];
        let total = order.total.clone().unwrap();
        let total = json!({"currency_code": total.currency_code, "units": total.units, "nanos": total.nanos});
        let records = [
            json!({"kind": "call", "call": call, "request": request, "time": asked, "method": "CreateOrder",
                "customer": shop.name, "lines": lines}),
            json!({"kind": "answer", "call": call, "time": now(), "status": "OK", "unknown": false, "order": order.name,
                "state": "PENDING", "etag": order.etag, "total": total}),
        ];
        for record in records {
            writeln!(history, "{record}").unwrap();
        }
        orders.push(order.name);
    }
    let path = shop.folder.path().join("history.jsonl");
    std::fs::write(&path, history).unwrap();
    shop.settle(&orders).await;
    shop.judge(Some(&path), &["I11"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_twice_leaves_nothing_to_find() {
    asked_twice(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_forgets_requests_is_found() {
    asked_twice(Some("forgets_requests")).await;
}

/// Many orders of one product, whose pieces a server with many connections moves.
async fn pieces_in_demand(bug: Option<&str>) {
    let postgres = Postgres::private();
    let database = postgres.database();
    let shop = Shop::open("", bug, &[("MESHWORK_PRODUCTS__POSTGRES__URL", database.as_str())]).await;
    let orders = shop.place(MANY).await;
    // Where pieces were lost some may never settle.
    tokio::time::timeout(Duration::from_secs(30), shop.settle(&orders)).await.ok();
    shop.judge(None, &["I1", "I2", "I3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_in_demand_leave_nothing_to_find() {
    pieces_in_demand(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_that_is_read_and_then_written_is_found() {
    pieces_in_demand(Some("read_then_write")).await;
}

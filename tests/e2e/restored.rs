//! A service's database is put back to an older copy while the others go on (E1, E3).
//!
//! A shop that has lost a part of its past isn't audited: its bus has events that their source has lost, or has at another
//! position, and letters are gone.

use std::path::Path;
use std::time::{Duration, Instant};

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CancelOrderRequest, ListOrdersRequest, ShipOrderRequest, order};
use meshwork_api::meshwork::products::v1::ReceiveStockRequest;
use meshwork_api::meshwork::products::v1::inventory_service_client::InventoryServiceClient;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{GetUserRequest, UpdateUserRequest, User};
use meshwork_sql::Sqlite;
use meshwork_testkit::up::{Token, UNLIMITED, text, with};
use meshwork_testkit::{Gateway, Redis};
use serde_json::Value;

use crate::processes::{NAMES, Processes};
use crate::shop::{add_product, eventually, get_order, order_request, settled_order, stock_at};

/// Copies a database of SQLite whose process has ended, with what lies beside it.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let beside =
            |path: &Path| path.with_file_name(format!("{}{suffix}", path.file_name().unwrap().to_str().unwrap()));
        std::fs::remove_file(beside(to)).ok();
        if beside(from).exists() {
            std::fs::copy(beside(from), beside(to)).unwrap();
        }
    }
}

/// Starts a service again, and waits until the gateway has found it.
fn start(processes: &mut Processes, service: &str) {
    processes.start(service);
    processes.wait_for(service);
    let method = match service {
        "users" => "meshwork.users.v1.UserService",
        "products" => "meshwork.products.v1.InventoryService",
        "orders" => "meshwork.orders.v1.OrderService",
        _ => "meshwork.notifications.v1.NotificationService",
    };
    processes.wait_for_service("gateway", method);
}

/// Five processes that sell one product to one customer.
struct Shop {
    processes: Processes,
    gateway: Gateway,
    staff: Token,
    product: String,
    customer: String,
}

impl Shop {
    async fn open(folder: &Path, pieces: i64) -> Self {
        Self::open_with(folder, pieces, &[]).await
    }

    async fn open_with(folder: &Path, pieces: i64, more: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = UNLIMITED.iter().chain(more).copied().collect();
        let mut processes = Processes::new(folder, &settings);
        processes.start_all();
        let gateway = processes.gateway();
        let staff = gateway.staff().await;
        let product = add_product(gateway.channel(), &staff, "restored", pieces).await;
        let customer = gateway.sign_up("early").await;
        Self { processes, gateway, staff, product, customer }
    }
}

/// What the check of parked events says.
fn dead_letters(processes: &Processes, service: &str) -> Value {
    processes.check(service, "dead letters")
}

fn assert_nothing_is_parked(processes: &Processes, service: &str) {
    let check = dead_letters(processes, service);
    assert_eq!(check["status"], "passing", "{service}: {check}");
}

/// An order whose events are missed, while the service that has them is out of reach: it is parked alone, and shown.
#[tokio::test(flavor = "multi_thread")]
async fn e1_e6_what_can_not_be_healed_is_parked_shown_and_healed_by_a_redrive() {
    let folder = tempfile::tempdir().unwrap();
    let Shop { mut processes, gateway, staff, product, customer } = Shop::open(folder.path(), 10).await;
    let missed = confirmed(&gateway, &staff, &customer, &product, 1).await.remove(0);

    processes.kill("products");
    let db = Sqlite::open(&processes.data().join("products/products.db"), &[]).await.unwrap();
    let subject = missed.clone();
    let forgotten = db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
        Box::pin(async move {
            let forget = sqlx::query("UPDATE inbox SET last_version = 0 WHERE consumer = 'inventory' AND subject = ?");
            Ok(forget.bind(subject).execute(connection).await?.rows_affected())
        })
    });
    assert_eq!(forgotten.await.unwrap(), 1);
    drop(db);
    let cancel = CancelOrderRequest { name: missed.clone(), ..CancelOrderRequest::default() };
    OrderServiceClient::new(gateway.channel()).cancel_order(with(&staff, cancel)).await.unwrap();
    // The cancellation is on the bus when orders has ended.
    processes.stop("orders");
    start(&mut processes, "products");
    eventually("the order to be parked", async || dead_letters(&processes, "products")["status"] == "failed").await;
    let said = dead_letters(&processes, "products")["last_error"].as_str().unwrap().to_owned();
    assert!(said.contains(&missed) && said.contains("could not be asked"), "{said}");

    processes.start("orders");
    processes.wait_for("orders");
    let listed = processes.run(&["deadletters", "list", "--service", "products"]);
    assert!(listed.status.success() && text(&listed.stdout).contains(&missed), "{}", text(&listed.stdout));
    let redriven =
        async || processes.run(&["deadletters", "redrive", "--all", "--service", "products"]).status.success();
    eventually("the redrive", redriven).await;
    eventually("nothing parked", async || dead_letters(&processes, "products")["status"] == "passing").await;
    let stock = stock_at(gateway.channel(), &staff, &product).await;
    assert_eq!((stock.available, stock.held, stock.allocated), (10, 0, 0));
    processes.audit();
}

/// Places an order for one piece.
pub async fn place(gateway: &Gateway, staff: &Token, customer: &str, product: &str) -> String {
    let mut request = order_request(product, 1, "");
    request.order.as_mut().unwrap().customer = customer.to_owned();
    OrderServiceClient::new(gateway.channel()).create_order(with(staff, request)).await.unwrap().into_inner().name
}

/// Orders that are placed and confirmed.
async fn confirmed(gateway: &Gateway, staff: &Token, customer: &str, product: &str, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(place(gateway, staff, customer, product).await);
    }
    for name in &names {
        let order = settled_order(gateway.channel(), staff, name).await;
        assert_eq!(order.state(), order::State::Confirmed, "{name}");
    }
    names
}

/// The case: a copy from before eight orders is put back, four of these are cancelled and four shipped, and twenty
/// more come.
#[tokio::test(flavor = "multi_thread")]
async fn e1_products_put_back_to_an_older_copy_heal_and_nothing_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let Shop { mut processes, gateway, staff, product, customer } = Shop::open(folder.path(), 100).await;
    confirmed(&gateway, &staff, &customer, &product, 2).await;

    let database = processes.data().join("products/products.db");
    let older = folder.path().join("older.db");
    processes.kill("products");
    copy(&database, &older);
    start(&mut processes, "products");
    let eight = confirmed(&gateway, &staff, &customer, &product, 8).await;
    processes.kill("products");
    copy(&older, &database);
    start(&mut processes, "products");

    let orders = || OrderServiceClient::new(gateway.channel());
    for name in &eight[..4] {
        let cancel = CancelOrderRequest { name: name.clone(), ..CancelOrderRequest::default() };
        orders().cancel_order(with(&staff, cancel)).await.unwrap();
    }
    for name in &eight[4..] {
        let tracking_number = "TN 1".to_owned();
        let ship = ShipOrderRequest { name: name.clone(), tracking_number, ..ShipOrderRequest::default() };
        orders().ship_order(with(&staff, ship)).await.unwrap();
    }
    confirmed(&gateway, &staff, &customer, &product, 20).await;
    // All that happened meanwhile was done again: the pieces are where the orders are.
    eventually("the stock", async || {
        let stock = stock_at(gateway.channel(), &staff, &product).await;
        (stock.available, stock.held, stock.allocated, stock.shipped) == (100 - 2 - 4 - 20, 0, 22, 4)
    })
    .await;
    assert_nothing_is_parked(&processes, "products");
    assert!(processes.log("products").contains("was restored from an older copy"), "{}", processes.log("products"));
}

/// Pieces that came after the copy was made are not in it: orders that counted on them are cancelled, and their customers told.
#[tokio::test(flavor = "multi_thread")]
async fn e1_orders_whose_pieces_an_older_copy_lacks_are_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let Shop { mut processes, gateway, staff, product, customer } = Shop::open(folder.path(), 2).await;
    let (database, older) = (processes.data().join("products/products.db"), folder.path().join("older.db"));
    processes.kill("products");
    copy(&database, &older);
    start(&mut processes, "products");
    let more = ReceiveStockRequest { name: format!("{product}/stock"), quantity: 6, ..ReceiveStockRequest::default() };
    InventoryServiceClient::new(gateway.channel()).receive_stock(with(&staff, more)).await.unwrap();
    let orders = confirmed(&gateway, &staff, &customer, &product, 8).await;
    processes.kill("products");
    copy(&older, &database);
    start(&mut processes, "products");
    eventually("six cancelled orders", async || {
        let mut cancelled = 0;
        for name in &orders {
            let order = get_order(gateway.channel(), &staff, name).await;
            cancelled += usize::from(order.state() == order::State::Cancelled);
        }
        cancelled == 6
    })
    .await;
    let stock = stock_at(gateway.channel(), &staff, &product).await;
    assert_eq!((stock.available, stock.held, stock.allocated, stock.received), (0, 0, 2, 2));
    assert_nothing_is_parked(&processes, "orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_users_and_notifications_put_back_to_older_copies_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let Shop { mut processes, gateway, staff, product, customer: early } = Shop::open(folder.path(), 100).await;
    confirmed(&gateway, &staff, &early, &product, 1).await;

    for (service, file) in [("users", "users/users.db"), ("notifications", "notifications/notifications.db")] {
        let (database, older) = (processes.data().join(file), folder.path().join("older.db"));
        processes.kill(service);
        copy(&database, &older);
        start(&mut processes, service);
        let lost = gateway.sign_up(&format!("lost-{service}")).await;
        confirmed(&gateway, &staff, &early, &product, 2).await;
        processes.kill(service);
        copy(&older, &database);
        start(&mut processes, service);
        // Nobody waits for what is gone: new accounts are welcomed, and new orders are written about.
        let new = gateway.sign_up(&format!("new-{service}")).await;
        let order = confirmed(&gateway, &staff, &new, &product, 1).await.remove(0);
        let mails = processes.data().join("notifications/mail");
        let told = |what: &str| {
            let files = std::fs::read_dir(&mails).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
            files.map_while(Result::ok).filter(|mail| mail.contains(what)).count() > 0
        };
        let id = order.strip_prefix("orders/").unwrap().to_owned();
        eventually("the letter about the new order", async || told(&id)).await;
        eventually("the welcome", async || told(&format!("new-{service}@example.com"))).await;
        assert_eq!(get_order(gateway.channel(), &staff, &order).await.state(), order::State::Confirmed);
        // The account that was lost can be made again where the users were put back.
        if service == "users" {
            assert_eq!(gateway.sign_up(&format!("lost-{service}")).await, lost);
        }
        if service == "notifications" {
            assert_nothing_is_parked(&processes, service);
        }
    }
}

/// How long a service has its caches wrong at most once it is back with an older copy of its database.
const HEALED: Duration = Duration::from_secs(10);
/// How long it takes to note in Redis how far the events of a service are followed.
const NOTED: Duration = Duration::from_secs(1);

/// Redis has accounts as they were after the copy was made, and knows of events that the copy lacks: by these it is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn users_put_back_to_an_older_copy_show_it_within_seconds_whatever_redis_has() {
    let (redis, folder) = (Redis::private(&[]), tempfile::tempdir().unwrap());
    let shop = Shop::open_with(folder.path(), 1, &[("MESHWORK_REDIS_URL", redis.url())]).await;
    let Shop { mut processes, gateway, staff, product: _, customer } = shop;
    let users = || UserServiceClient::new(gateway.channel());
    let rename = async |name: &str| {
        let user = User { name: customer.clone(), display_name: name.to_owned(), ..User::default() };
        let request = UpdateUserRequest { user: Some(user), ..UpdateUserRequest::default() };
        users().update_user(with(&staff, request)).await.unwrap();
    };
    let shown = async || {
        let request = with(&staff, GetUserRequest { name: customer.clone() });
        users().get_user(request).await.unwrap().into_inner().display_name
    };
    rename("Before").await;
    let (database, older) = (processes.data().join("users/users.db"), folder.path().join("older.db"));
    processes.kill("users");
    copy(&database, &older);
    start(&mut processes, "users");
    eventually("the link to Redis", async || processes.check("users", "cache")["status"] == "passing").await;
    for name in ["After", "Long after"] {
        rename(name).await;
    }
    assert_eq!(shown().await, "Long after");
    tokio::time::sleep(NOTED).await;
    processes.kill("users");
    copy(&older, &database);
    start(&mut processes, "users");

    let begun = Instant::now();
    // Until then nothing is read from it.
    eventually("the link to Redis", async || processes.check("users", "cache")["status"] == "passing").await;
    eventually("the account as it was", async || shown().await == "Before").await;
    assert!(begun.elapsed() < HEALED, "what the older copy lacks is shown for {:?}", begun.elapsed());
    // What is written from then on has versions that there were before, and shows all the same.
    for name in ["Again", "Once more", "And on"] {
        rename(name).await;
        assert_eq!(shown().await, name);
    }
}

/// The lists have applied events that an older copy lacks: they stand still and say so, until they are made of what there is.
#[tokio::test(flavor = "multi_thread")]
async fn e3_lists_that_are_ahead_of_the_events_say_so_and_are_healed_by_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let Shop { mut processes, gateway, staff, product, customer } = Shop::open(folder.path(), 100).await;
    let kept = confirmed(&gateway, &staff, &customer, &product, 2).await;
    let (database, older) = (processes.data().join("orders/events.db"), folder.path().join("older.db"));
    processes.kill("orders");
    copy(&database, &older);
    start(&mut processes, "orders");
    confirmed(&gateway, &staff, &customer, &product, 8).await;
    let listed = async || {
        let request = with(&staff, ListOrdersRequest { page_size: 100, ..ListOrdersRequest::default() });
        let orders = OrderServiceClient::new(gateway.channel()).list_orders(request).await.unwrap().into_inner().orders;
        orders.into_iter().map(|order| order.name).collect::<Vec<_>>()
    };
    eventually("all orders in the lists", async || listed().await.len() == 10).await;

    processes.kill("orders");
    copy(&older, &database);
    start(&mut processes, "orders");
    eventually("the check to fail", async || processes.check("orders", "projector")["status"] == "failed").await;
    let said = processes.check("orders", "projector")["last_error"].as_str().unwrap().to_owned();
    assert!(said.contains("put back to an older copy") && said.contains("--accept-differences"), "{said}");
    assert!(processes.log("orders").contains("projection_diverged:"), "{}", processes.log("orders"));
    assert_eq!(listed().await.len(), 10, "the lists show what they had");

    let refused = processes.run(&["projections", "rebuild", "orders"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--accept-differences"), "{refused:?}");
    let rebuilt = processes.run(&["projections", "rebuild", "orders", "--accept-differences"]);
    assert!(rebuilt.status.success(), "{}", text(&rebuilt.stderr));
    let mut names = listed().await;
    names.sort();
    let mut expected = kept;
    expected.sort();
    assert_eq!(names, expected);
    eventually("the check to pass", async || processes.check("orders", "projector")["status"] == "passing").await;

    // The bus is ahead too, and its relay says what to do.
    eventually("the relay to say so", async || processes.check("orders", "relay")["status"] == "failed").await;
    let said = processes.check("orders", "relay")["last_error"].as_str().unwrap().to_owned();
    assert!(said.contains("relay_diverged") && said.contains("move it away"), "{said}");
    for service in NAMES {
        processes.kill(service);
    }
    let bus = processes.data().join("bus");
    std::fs::rename(&bus, bus.with_file_name("bus-before")).unwrap();
    processes.start_all();
    for service in ["users.v1.UserService", "products.v1.InventoryService", "orders.v1.OrderService"] {
        processes.wait_for_service("gateway", &format!("meshwork.{service}"));
    }
    let gateway = processes.gateway();
    let staff = gateway.staff().await;
    confirmed(&gateway, &staff, &customer, &product, 8).await;
    eventually("the relay to pass", async || processes.check("orders", "relay")["status"] == "passing").await;
}

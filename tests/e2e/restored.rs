//! A service's database is put back to an older copy while the others go on (E1).

use std::path::Path;

use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{CancelOrderRequest, ShipOrderRequest, order};
use meshwork_testkit::Gateway;
use meshwork_testkit::up::{Token, UNLIMITED, with};

use crate::processes::Processes;
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
        _ => "meshwork.notifications.v1.NotificationService",
    };
    processes.wait_for_service("gateway", method);
}

async fn place(gateway: &Gateway, staff: &Token, customer: &str, product: &str) -> String {
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
    let mut processes = Processes::new(folder.path(), UNLIMITED);
    processes.start_all();
    let gateway = processes.gateway();
    let staff = gateway.staff().await;
    let product = add_product(gateway.channel(), &staff, "restored", 100).await;
    let customer = gateway.sign_up("restorer").await;
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
        let ship = ShipOrderRequest { name: name.clone(), ..ShipOrderRequest::default() };
        orders().ship_order(with(&staff, ship)).await.unwrap();
    }
    confirmed(&gateway, &staff, &customer, &product, 20).await;
    // All that happened meanwhile was done again: the pieces are where the orders are.
    eventually("the stock", async || {
        let stock = stock_at(gateway.channel(), &staff, &product).await;
        (stock.available, stock.held, stock.allocated, stock.shipped) == (100 - 2 - 4 - 20, 0, 22, 4)
    })
    .await;
    let health = processes.health("products");
    assert!(!health.contains("are parked"), "{health}");
    assert!(processes.log("products").contains("was restored from an older copy"), "{}", processes.log("products"));
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_users_and_notifications_put_back_to_older_copies_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = Processes::new(folder.path(), UNLIMITED);
    processes.start_all();
    let gateway = processes.gateway();
    let staff = gateway.staff().await;
    let product = add_product(gateway.channel(), &staff, "restored", 100).await;
    let early = gateway.sign_up("early").await;
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
        let health = processes.health(service);
        assert!(!health.contains("are parked"), "{health}");
    }
}

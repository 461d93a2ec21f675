//! The shop on PostgreSQL, its letters on a mail server.

use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_testkit::up::{UNLIMITED, text, with};
use meshwork_testkit::{Postgres, Smtp, Up, smtp};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::processes::Processes;
use crate::shop::{add_product, order_request, settled_order, stock_at};

const BUYERS: usize = 400;
const PIECES: i64 = 40;

#[test]
fn the_demo_runs_on_postgres_and_its_mail_arrives() {
    let (postgres, smtp) = (Postgres::durable(), Smtp::start(smtp::Options::default()));
    let folder = tempfile::tempdir().unwrap();
    let (database, server) = (postgres.database(), smtp.url());
    let up = Up::try_start_with(folder.path(), &["--postgres", &database, "--smtp", &server], &[]);
    let up = up.unwrap_or_else(|problem| panic!("{problem}"));
    let places: Vec<_> = up.output().lines().filter(|line| line.contains("PostgreSQL, ")).collect();
    assert_eq!(places.len(), 4, "{}", up.output());
    let demo = up.run(["demo", "--output", "json", "--target", &format!("http://{}", up.address("gateway"))]);
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), up.log());
    let outcome: Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert_eq!(outcome["state"], "CONFIRMED", "{outcome}");
    let id = outcome["order"].as_str().unwrap().strip_prefix("orders/").unwrap().to_owned();
    let mails = smtp.mails();
    assert_eq!(mails.iter().filter(|mail| mail.raw.contains(&id)).count(), 1, "one mail tells of {id}: {mails:#?}");
    // They are there, and only there.
    for file in [
        "users/users.db",
        "products/products.db",
        "notifications/notifications.db",
        "notifications/mail",
        "orders/view.db",
    ] {
        assert!(!up.data().join(file).exists(), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_a_folder_stay_there_when_a_server_is_named() {
    let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
    let database = postgres.database();
    // What --postgres has set in the release before.
    let on_postgres = [
        ("MESHWORK_PRODUCTS__POSTGRES__URL", database.as_str()),
        ("MESHWORK_ORDERS__POSTGRES__URL", database.as_str()),
        ("MESHWORK_NOTIFICATIONS__POSTGRES__URL", database.as_str()),
    ];
    let mut up = Up::start(folder.path(), &on_postgres);
    let customer = up.sign_up("settled").await;
    assert!(up.stop().success(), "{}", up.log());

    let up = Up::try_start_with(folder.path(), &["--postgres", &database], &[]);
    let up = up.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(up.output().lines().any(|line| line.starts_with("users ") && line.contains("SQLite")), "{}", up.output());
    assert!(up.log().contains("the accounts stay in this folder"), "{}", up.log());
    let staff = up.staff().await;
    let request = with(&staff, GetUserRequest { name: customer.clone() });
    let found = UserServiceClient::new(up.channel()).get_user(request).await.unwrap().into_inner();
    assert_eq!(found.name, customer);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_buyers_of_forty_pieces_get_forty_orders_of_four_instances() {
    let (postgres, folder) = (Postgres::durable(), tempfile::tempdir().unwrap());
    let database = postgres.database();
    let on_postgres = [("MESHWORK_PRODUCTS__POSTGRES__URL", database.as_str())];
    let settings: Vec<_> = UNLIMITED.iter().copied().chain(on_postgres).collect();
    let mut processes = Processes::several(folder.path(), &[("products", 4)], &settings);
    processes.start_all();
    let gateway = processes.gateway();
    let (channel, staff) = (gateway.channel(), gateway.staff().await);
    let product = add_product(channel.clone(), &staff, "scarce", PIECES).await;
    let (buyer, _) = gateway.customer("buyer").await;

    // Staff take the orders, by telephone say: signing in and up costs more than all the rest.
    let mut purchases = JoinSet::new();
    for _ in 0..BUYERS {
        let (channel, staff, mut request) = (channel.clone(), staff.clone(), order_request(&product, 1, ""));
        request.order.as_mut().unwrap().customer = buyer.clone();
        purchases.spawn(async move {
            let request = with(&staff, request);
            OrderServiceClient::new(channel).create_order(request).await.unwrap().into_inner().name
        });
    }
    let mut confirmed = 0;
    for name in purchases.join_all().await {
        match settled_order(channel.clone(), &staff, &name).await.state() {
            order::State::Confirmed => confirmed += 1,
            state => assert_eq!(state, order::State::Rejected),
        }
    }
    assert_eq!(confirmed, PIECES);
    let stock = stock_at(channel, &staff, &product).await;
    let pieces = (stock.available, stock.held, stock.allocated, stock.shipped, stock.received);
    assert_eq!(pieces, (0, 0, PIECES, 0, PIECES));
    // I2 and I3, as the database has them: each order's pieces are in the ledger once.
    let name = database.rsplit('/').next().unwrap();
    let held = "SELECT coalesce(sum(quantity), 0) FROM products.reservation_line l JOIN products.reservation r USING (order_id) WHERE state = 'ALLOCATED'";
    assert_eq!(postgres.sql(name, held), PIECES.to_string());
    let moved =
        "SELECT transition, count(*), count(DISTINCT order_id) FROM products.stock_ledger GROUP BY 1 ORDER BY 1";
    assert_eq!(postgres.sql(name, moved), format!("allocate|{PIECES}|{PIECES}\nhold|{PIECES}|{PIECES}"));
    assert_eq!(postgres.sql(name, "SELECT count(*) FROM products.dead_letter"), "0");
    processes.audit();
}

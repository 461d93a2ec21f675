//! Orders, as the bus brings them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::events::v1 as events;
use meshwork_api::meshwork::products::v1::reservation::State;
use meshwork_api::meshwork::products::v1::{self as pb, DeleteProductRequest};
use meshwork_chassis::Health;
use meshwork_chassis::config::{PostgresConfig, Secret};
use meshwork_events::testing::{lane, publish, read_all};
use meshwork_events::{Bus as _, ConsumerState, Context, Envelope, Position, SqliteBus};
use meshwork_products::adapters::store::SqliteStore;
use meshwork_products::{Config, migrate, serve};
use meshwork_testkit::{Issuer, Postgres};
use prost::Message;
use time::OffsetDateTime;
use tonic::Code;

use crate::shop::{Shop, assert_refused, config, eventually};

/// The orders service, as far as the bus knows it.
struct Orders {
    bus: Arc<SqliteBus>,
    tail: Option<Position>,
}

impl Orders {
    async fn beside(shop: &Shop) -> Self {
        Self { bus: SqliteBus::open(&shop.folder.path().join("bus")).await.unwrap(), tail: None }
    }

    async fn publish(&mut self, order: &str, version: i64, event_type: &str, data: Vec<u8>) {
        let position = Position { partition: 0, n: self.tail.map_or(1, |tail| tail.n + 1), index: 0 };
        let subject = format!("orders/{order}");
        let event = Envelope {
            id: Envelope::id_of(&subject, version),
            source: "orders".to_owned(),
            event_type: event_type.to_owned(),
            schema_version: 1,
            subject,
            version,
            position,
            time: OffsetDateTime::now_utc(),
            context: Context::default(),
            data: data.into(),
        };
        publish(self.bus.as_ref(), &lane("orders", 0), vec![event]).await;
        self.tail = Some(position);
    }

    async fn place(&mut self, order: &str, product: &str, quantity: i64) {
        let line = events::OrderLine { product: format!("products/{product}"), quantity, ..Default::default() };
        let created =
            events::OrderCreated { order: format!("orders/{order}"), lines: vec![line], ..Default::default() };
        self.publish(order, 1, "order_created", created.encode_to_vec()).await;
    }

    async fn say(&mut self, order: &str, version: i64, event_type: &str) {
        // All events of orders name the order in field 1.
        let data = events::OrderAllocated { order: format!("orders/{order}") }.encode_to_vec();
        self.publish(order, version, event_type, data).await;
    }

    /// The types of what the inventory has answered an order.
    async fn answers(&self, order: &str) -> Vec<String> {
        let mut answers = Vec::new();
        for lane in self.bus.lanes("products") {
            for event in read_all(self.bus.as_ref(), &lane).await {
                if event.subject == format!("reservations/{order}") {
                    answers.push(event.event_type);
                }
            }
        }
        answers
    }
}

async fn until(shop: &Shop, order: &str, state: State) -> pb::Reservation {
    eventually(&format!("{order} in {state:?}"), || async {
        shop.reservation(order).await.filter(|reservation| reservation.state() == state)
    })
    .await
}

#[tokio::test]
async fn an_order_is_served_by_events_alone() {
    an_order_is_served(Shop::open().await).await;
}

#[tokio::test]
async fn an_order_is_served_from_postgresql_too() {
    let (server, url) = tokio::task::spawn_blocking(|| {
        let server = Postgres::start();
        let url = server.database();
        (server, url)
    })
    .await
    .unwrap();
    let postgres = PostgresConfig { url: Secret::new(url), ..PostgresConfig::default() };
    an_order_is_served(Shop::open_with(|config| Config { postgres, ..config }).await).await;
    drop(server);
}

async fn an_order_is_served(shop: Shop) {
    shop.stocked("lamp-1", 5).await;
    let mut orders = Orders::beside(&shop).await;
    orders.place("o1", "lamp-1", 2).await;
    orders.place("o2", "lamp-1", 4).await;
    let held = until(&shop, "o1", State::Held).await;
    assert_eq!((held.name.as_str(), held.order.as_str()), ("reservations/o1", "orders/o1"));
    assert_eq!(held.lines, [pb::reservation::Line { product: "products/lamp-1".to_owned(), quantity: 2 }]);
    let ttl = held.expire_time.unwrap().seconds - held.create_time.unwrap().seconds;
    assert_eq!(ttl, 600);
    until(&shop, "o2", State::Rejected).await;
    let delete = DeleteProductRequest { name: "products/lamp-1".to_owned(), etag: String::new() };
    let reserved = shop.products.clone().delete_product(shop.staff(delete)).await;
    assert_refused(reserved, Code::FailedPrecondition, "STOCK_RESERVED");

    orders.say("o1", 2, "order_confirmed").await;
    orders.say("o1", 3, "order_allocated").await;
    orders.say("o1", 4, "order_gift_wrapped").await;
    orders.say("o1", 5, "order_shipped").await;
    orders.say("o1", 6, "order_delivered").await;
    assert_eq!(until(&shop, "o1", State::Shipped).await.expire_time, None);
    let stock = shop.stock("lamp-1").await.unwrap();
    assert_eq!((stock.available, stock.held, stock.allocated, stock.shipped, stock.received), (3, 0, 0, 2, 5));
    let answers = eventually("the answers", || async {
        Some([orders.answers("o1").await, orders.answers("o2").await]).filter(|answers| answers.concat().len() >= 3)
    })
    .await;
    assert_eq!(answers[0], ["stock_reserved", "stock_allocated"]);
    assert_eq!(answers[1], ["stock_rejected"]);

    // What was applied stays applied, over a restart too.
    let shop = shop.reopen().await;
    orders.place("o3", "lamp-1", 3).await;
    until(&shop, "o3", State::Held).await;
    assert_eq!(shop.stock("lamp-1").await.unwrap().shipped, 2);
    shop.close().await;
}

#[tokio::test]
async fn a_poisoned_order_holds_up_no_other() {
    let shop = Shop::open().await;
    shop.stocked("lamp-1", 5).await;
    let mut orders = Orders::beside(&shop).await;
    orders.publish("bad-1", 1, "order_created", vec![0xff; 4]).await;
    orders.place("bad-2", "lamp-1", 0).await;
    orders.say("bad-3", 1, "order_confirmed").await;
    orders.place("good", "lamp-1", 1).await;
    orders.say("bad-1", 2, "order_cancelled").await;
    orders.say("good", 2, "order_cancelled").await;
    until(&shop, "good", State::Released).await;
    let store = SqliteStore::open(&shop.folder.path().join("products")).await.unwrap();
    let parked = store.inbox("inventory").list(None, None, 10).await.unwrap();
    let parked: BTreeSet<_> = parked.iter().map(|letter| letter.event.id.as_str()).collect();
    let expected = ["orders/bad-1:1", "orders/bad-1:2", "orders/bad-2:1", "orders/bad-3:1"];
    assert_eq!(parked, BTreeSet::from(expected));
    for order in ["bad-1", "bad-2", "bad-3"] {
        assert_eq!(shop.reservation(order).await, None);
    }
    assert_eq!(shop.stock("lamp-1").await.unwrap().available, 5);
}

#[tokio::test]
async fn held_pieces_are_let_go_in_time() {
    let shop = Shop::open_with(|config| Config {
        reservation_ttl: Duration::from_millis(50),
        sweep_interval: Duration::from_millis(10),
        ..config
    })
    .await;
    shop.stocked("lamp-1", 5).await;
    let mut orders = Orders::beside(&shop).await;
    orders.place("o1", "lamp-1", 5).await;
    until(&shop, "o1", State::Expired).await;
    assert_eq!(shop.stock("lamp-1").await.unwrap().available, 5);
    let answers =
        eventually("the answers", || async { Some(orders.answers("o1").await).filter(|answers| answers.len() >= 2) })
            .await;
    assert_eq!(answers, ["stock_reserved", "reservation_expired"]);
}

#[tokio::test]
async fn what_can_not_be_served_is_said_at_the_start() {
    let (issuer, folder) = (Issuer::start().await, tempfile::tempdir().unwrap());
    let good = || config(folder.path(), &issuer);
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut no_users = good();
    no_users.auth.users = "users:port".to_owned();
    for (config, word) in [
        (no_users, "users:port"),
        (Config { data: file.clone(), ..good() }, "a-file"),
        (Config { listen: taken.local_addr().unwrap().into(), ..good() }, "listen on"),
        (Config { sweep_interval: Duration::ZERO, ..good() }, "sweep_interval"),
    ] {
        let refused = tokio::time::timeout(Duration::from_secs(20), serve(config, Health::new(), Default::default()));
        let refused = refused.await.expect(word).expect_err(word);
        assert!(refused.sentence.contains(word) && !refused.hint.is_empty(), "{refused:?}");
    }
    let first = migrate(&good()).await.unwrap();
    assert!(first.iter().any(|applied| applied.component == "products" && applied.version == 1));
    assert_eq!(migrate(&good()).await.unwrap(), first);
}

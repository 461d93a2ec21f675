//! What the first release has stored, which kept no hash with an order's commands and claimed the ids of all requests.

use std::time::Duration;

use meshwork_aip::request;
use meshwork_api::meshwork::orders::v1::{self as proto, Order, order};
use meshwork_chassis::request::RequestKey;
use prost::Message;

use crate::refusal::reason_of;
use crate::requests::{answer, create, reused};
use crate::shop::{Shop, cancel, eventually, uuid};

/// Takes the hashes from all that an order's history holds, of one commit.
async fn without_hash(shop: &Shop, name: &str) {
    shop.store_sql("UPDATE commits SET command_hash = zeroblob(32) WHERE stream = ? AND first_version = 1", name).await;
}

#[tokio::test]
async fn a_placement_that_it_has_answered_is_answered_again() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    for order_id in [String::new(), uuid()] {
        let request = proto::CreateOrderRequest { order_id: order_id.clone(), ..create(&uuid(), 2) };
        let (first, _) = answer(anna.create_order(request.clone()).await);
        let name = Order::decode(first.as_slice()).unwrap().name;
        without_hash(&shop, &name).await;
        // A claim that stands stays.
        let body = proto::CreateOrderRequest { request_id: String::new(), ..request.clone() };
        let (principal, id) = ("users/anna".to_owned(), request.request_id.clone());
        shop.claim(&RequestKey { principal, method: "CreateOrder", id, hash: request::hash(&body) }).await;

        let before = shop.commits().await;
        assert_eq!(answer(anna.create_order(request.clone()).await), (first.clone(), true));
        shop.inventory.reserves(&name).await;
        shop.when(&name, order::State::Confirmed).await;
        assert_eq!(answer(anna.create_order(request.clone()).await), (first, true));
        let other = proto::CreateOrderRequest { order_id, ..create(&request.request_id, 3) };
        assert_eq!(reason_of(anna.create_order(other).await), reused());
        let chosen = proto::CreateOrderRequest { order_id: uuid(), ..request };
        assert_eq!(reason_of(anna.create_order(chosen).await), reused());
        assert_eq!(shop.commits().await.len(), before.len() + 1, "the confirmation alone");
    }
}

#[tokio::test]
async fn a_placement_that_it_has_claimed_and_not_made_is_made() {
    let shop = Shop::open().await;
    let request = create(&uuid(), 2);
    let body = proto::CreateOrderRequest { request_id: String::new(), ..request.clone() };
    let (principal, id) = ("users/anna".to_owned(), request.request_id.clone());
    shop.claim(&RequestKey { principal, method: "CreateOrder", id, hash: request::hash(&body) }).await;
    let mut anna = shop.customer("anna");
    assert_eq!(reason_of(anna.create_order(create(&request.request_id, 3)).await), reused());
    let (first, replayed) = answer(anna.create_order(request.clone()).await);
    assert!(!replayed);
    assert_eq!(answer(anna.create_order(request).await), (first, true));
}

#[tokio::test]
async fn a_change_that_it_has_made_is_answered_again() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let mut anna = shop.customer("anna");
    let request = proto::CancelOrderRequest { request_id: uuid(), etag: order.etag.clone(), ..cancel(&order.name) };
    let (first, _) = answer(anna.cancel_order(request.clone()).await);
    let sql = "UPDATE commits SET command_hash = zeroblob(32) WHERE stream = ? AND first_version = 2";
    shop.store_sql(sql, &order.name).await;
    let before = shop.commits().await;
    assert_eq!(answer(anna.cancel_order(request.clone()).await), (first, true));
    let other = proto::CancelOrderRequest { reason: "another".to_owned(), ..request };
    assert_eq!(reason_of(anna.cancel_order(other).await), reused());
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn an_event_of_the_inventory_that_it_has_handled_does_nothing_again() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    let reserved = shop.inventory.reserves(&name).await;
    shop.when(&name, order::State::Confirmed).await;
    shop.inventory.was_heard().await;
    let sql = "UPDATE commits SET command_hash = zeroblob(32) WHERE stream = ? AND first_version = 2";
    shop.store_sql(sql, &name).await;
    let before = shop.commits().await;
    shop.inventory.again(&reserved).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
    assert_eq!(shop.parked().await, []);
    // Whatever hash it was stored with.
    let sql = "UPDATE commits SET command_hash = randomblob(32) WHERE stream = ? AND first_version = 2";
    shop.store_sql(sql, &name).await;
    let before = shop.commits().await;
    shop.inventory.again(&reserved).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
    assert_eq!(shop.parked().await, []);
}

/// It takes a command that it finds with a hash for damage, and parks the event that it is.
#[tokio::test]
async fn what_comes_from_no_request_is_stored_as_it_stores_it() {
    let shop = Shop::with(|config| {
        config.reservation_timeout = Duration::from_millis(500);
        config.watchdog_interval = Duration::from_millis(10);
    })
    .await;
    let request = create(&uuid(), 2);
    let name = shop.customer("anna").create_order(request).await.unwrap().into_inner().name;
    eventually("the inventory to be asked again", async || shop.history(&name).await.len() > 1).await;
    shop.inventory.reserves(&name).await;
    shop.when(&name, order::State::Confirmed).await;
    let commits = shop.commits().await;
    let hashed = |commit: &str| {
        let commit = commits.iter().find(|found| found.stream == name && found.command_id.starts_with(commit));
        commit.unwrap_or_else(|| panic!("{commits:?}")).command_hash != [0; 32]
    };
    let reservation = name.replacen("orders/", "reservations/", 1);
    assert!(hashed("create/"));
    assert!(!hashed("watchdog/") && !hashed(&reservation));
}

//! The watchdog: no order waits for the inventory for ever.

use std::time::Duration;

use meshwork_api::meshwork::events::v1::{OrderCancelled, OrderRejected, ReservationRequested};
use meshwork_api::meshwork::orders::v1::order;
use prost::Message;

use crate::shop::{Shop, eventually, ship};

async fn impatient(timeout: Duration) -> Shop {
    Shop::with(|config| {
        config.reservation_timeout = timeout;
        config.watchdog_interval = Duration::from_millis(10);
    })
    .await
}

#[tokio::test]
async fn a_silent_inventory_is_asked_three_times_and_the_order_is_rejected() {
    let shop = impatient(Duration::from_millis(50)).await;
    let name = shop.order("anna").await.name;
    let rejected = shop.when(&name, order::State::Rejected).await;
    assert_eq!(rejected.state_reason, "the inventory did not answer in time");
    let published = shop.published(&name).await;
    let types: Vec<_> = published.iter().map(|event| event.event_type.as_str()).collect();
    let asked = "reservation_requested";
    assert_eq!(types, ["order_created", asked, asked, asked, "order_rejected"]);
    for (attempt, event) in (1..).zip(&published[1..4]) {
        let event = ReservationRequested::decode(event.data.as_ref()).unwrap();
        assert_eq!((event.order.as_str(), event.attempt, event.confirmed), (name.as_str(), attempt, false));
        assert_eq!((event.lines[0].product.as_str(), event.lines[0].quantity), ("products/tea", 2));
    }
    for pair in published.windows(2) {
        assert!(pair[1].time - pair[0].time >= Duration::from_millis(50), "asked before the time was over");
    }
    assert_eq!(OrderRejected::decode(published[4].data.as_ref()).unwrap().customer, "users/anna");
    // It is final: a late answer changes nothing.
    shop.inventory.reserves(&name).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.get(&name).await, rejected);
}

#[tokio::test]
async fn an_answer_to_a_repeated_question_confirms_the_order_for_good() {
    let shop = impatient(Duration::from_millis(500)).await;
    let name = shop.order("anna").await.name;
    eventually("the inventory to be asked again", async || shop.history(&name).await.len() > 1).await;
    shop.inventory.reserves(&name).await;
    shop.when(&name, order::State::Confirmed).await;
    shop.inventory.allocates(&name).await;
    shop.inventory.was_heard().await;
    let history = shop.history(&name).await;
    // While another order goes all the way to its rejection, one that has its pieces is left alone.
    let other = shop.order("anna").await.name;
    shop.when(&other, order::State::Rejected).await;
    assert_eq!(shop.history(&name).await, history);
}

#[tokio::test]
async fn a_confirmed_order_without_its_pieces_is_asked_about_three_times_and_cancelled() {
    let shop = impatient(Duration::from_millis(500)).await;
    let name = shop.confirmed("anna").await.name;
    let cancelled = shop.when(&name, order::State::Cancelled).await;
    assert_eq!(cancelled.state_reason, "the inventory did not allocate the order's pieces in time");
    let published = shop.published(&name).await;
    let confirmed = published.iter().position(|event| event.event_type == "order_confirmed").unwrap();
    let types: Vec<_> = published[confirmed + 1..].iter().map(|event| event.event_type.as_str()).collect();
    let asked = "reservation_requested";
    assert_eq!(types, [asked, asked, asked, "order_cancelled"]);
    for (attempt, event) in (4..).zip(&published[confirmed + 1..confirmed + 4]) {
        let event = ReservationRequested::decode(event.data.as_ref()).unwrap();
        assert_eq!((event.order.as_str(), event.attempt, event.confirmed), (name.as_str(), attempt, true));
        assert_eq!((event.lines[0].product.as_str(), event.lines[0].quantity), ("products/tea", 2));
    }
    for pair in published[confirmed..].windows(2) {
        assert!(pair[1].time - pair[0].time >= Duration::from_millis(500), "asked before the time was over");
    }
    let event = OrderCancelled::decode(published.last().unwrap().data.as_ref()).unwrap();
    assert_eq!((event.customer.as_str(), event.reason), ("users/anna", cancelled.state_reason.clone()));
    // It is final: a late answer changes nothing.
    shop.inventory.allocates(&name).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.get(&name).await, cancelled);
}

#[tokio::test]
async fn an_answer_to_a_confirmed_orders_question_lets_it_be_shipped() {
    let shop = impatient(Duration::from_millis(500)).await;
    let name = shop.confirmed("anna").await.name;
    eventually("the inventory to be asked for the pieces", async || {
        shop.history(&name).await.last().is_some_and(|last| last == "reservation_requested")
    })
    .await;
    shop.inventory.allocates(&name).await;
    shop.inventory.was_heard().await;
    let shipped = shop.staff().ship_order(ship(&name)).await.unwrap().into_inner();
    assert_eq!(shipped.state(), order::State::Shipped);
}

#[tokio::test]
async fn orders_that_wait_during_an_outage_are_looked_after_when_it_is_over() {
    let mut shop = impatient(Duration::from_millis(100)).await;
    let names = [shop.order("anna").await.name, shop.order("bert").await.name];
    shop.stop().await;
    shop.start();
    for name in names {
        shop.when(&name, order::State::Rejected).await;
        assert_eq!(shop.history(&name).await.len(), 5);
    }
}

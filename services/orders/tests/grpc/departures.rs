//! Customers whose accounts are deleted.

use std::time::Duration;

use meshwork_api::meshwork::events::v1 as events;
use meshwork_api::meshwork::orders::v1::{self as proto, order};
use prost::Message;
use tonic::Code;

use crate::refusal::{because, reason, refused};
use crate::shop::{Shop, eventually, placement, ship, uuid};

const REASON: &str = "the customer's account was deleted";

fn deleted(user: &str) -> Vec<u8> {
    events::UserDeleted { user: user.to_owned() }.encode_to_vec()
}

#[tokio::test]
async fn d4_what_a_deleted_customer_has_open_is_cancelled_and_what_is_shipped_goes_on() {
    let shop = Shop::open().await;
    let (pending, confirmed) = (shop.order("anna").await, shop.confirmed("anna").await);
    let shipped = shop.allocated("anna").await;
    shop.staff().ship_order(ship(&shipped.name)).await.unwrap();
    let of_bert = shop.order("bert").await;
    // Lists follow with a delay.
    let list = proto::ListOrdersRequest { page_size: 10, ..proto::ListOrdersRequest::default() };
    eventually("the lists", async || {
        let listed = shop.staff().list_orders(list.clone()).await.unwrap().into_inner().orders;
        let is_open = |order: &&proto::Order| matches!(order.state(), order::State::Pending | order::State::Confirmed);
        listed.iter().filter(is_open).count() == 3
    })
    .await;

    shop.users_say("user_registered", "users/anna", 1, Vec::new()).await;
    shop.users_say("user_deleted", "users/anna", 2, deleted("users/anna")).await;
    for order in [&pending, &confirmed] {
        let cancelled = shop.when(&order.name, order::State::Cancelled).await;
        assert_eq!(cancelled.state_reason, REASON);
    }
    // The inventory takes the pieces back by the event, which tells on whose behalf it was.
    let published = shop.published(&confirmed.name).await;
    let last = published.last().unwrap();
    assert_eq!((last.event_type.as_str(), last.context.actor.as_str()), ("order_cancelled", "users/anna"));
    assert_eq!(shop.get(&shipped.name).await.state(), order::State::Shipped);
    assert_eq!(shop.get(&of_bert.name).await.state(), order::State::Pending);

    // It comes again, as another event even: nothing is left to do.
    let before = shop.commits().await;
    let erased = events::UserErased { user: "users/anna".to_owned() }.encode_to_vec();
    shop.users_say("user_erased", "users/anna", 3, erased).await;
    shop.users_say("user_deleted", "users/bert", 2, deleted("users/bert")).await;
    shop.when(&of_bert.name, order::State::Cancelled).await;
    assert_eq!(shop.commits().await.len(), before.len() + 1);
    assert!(shop.parked().await.is_empty());
}

#[tokio::test]
async fn d4_a_deleted_customers_token_orders_nothing() {
    let shop = Shop::open().await;
    // The users service knows those of these names as deleted.
    let status = refused(shop.customer("gone").create_order(placement(&[("tea", 1)])).await);
    assert_eq!(reason(&status), because(Code::PermissionDenied, "CUSTOMER_DELETED"));
    assert_eq!(shop.commits().await, []);
    // While it doesn't answer, orders are taken: they are cancelled later, if need be.
    shop.customer("away").create_order(placement(&[("tea", 1)])).await.unwrap();
    // Nor is it waited for, where it is silent: its channel alone would wait for ten seconds.
    let mut mute = shop.customer("mute");
    let taken = tokio::time::timeout(Duration::from_secs(5), mute.create_order(placement(&[("tea", 1)])));
    taken.await.unwrap().unwrap();

    // An order that was placed before is the same request's answer afterwards too.
    let request = proto::CreateOrderRequest { request_id: uuid(), ..placement(&[("tea", 1)]) };
    let order = shop.customer("carl").create_order(request.clone()).await.unwrap().into_inner();
    shop.users_say("user_deleted", "users/carl", 2, deleted("users/carl")).await;
    let turned_away = async || {
        let placed = shop.customer("carl").create_order(placement(&[("tea", 1)])).await;
        placed.is_err_and(|status| status.code() == Code::PermissionDenied)
    };
    eventually("the event to be heard", turned_away).await;
    assert_eq!(shop.customer("carl").create_order(request).await.unwrap().into_inner().name, order.name);
}

#[tokio::test]
async fn d4_an_event_of_an_account_that_can_not_be_read_is_parked() {
    let shop = Shop::open().await;
    // The service is there, and so are its tables.
    shop.order("bert").await;
    shop.users_say("user_deleted", "users/anna", 1, vec![0xff]).await;
    eventually("the event to be parked", async || shop.parked().await.len() == 1).await;
    assert_eq!(shop.parked().await[0].subject, "users/anna");
}

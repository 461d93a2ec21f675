//! What customers agree to, whom orders are for, and what is told of others and of the stock.

use std::time::Duration;

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::events::v1 as events;
use meshwork_api::meshwork::orders::v1::order_event::Event;
use meshwork_api::meshwork::orders::v1::{self as proto, order};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::catalogue::Mood;
use crate::refusal::{bad_fields, because, reason, reason_of, refused};
use crate::shop::{Client, Shop, cancel, deliver, eventually, placement, ship, uuid};

fn money(currency: &str, units: i64, nanos: i32) -> Money {
    Money { currency_code: currency.to_owned(), units, nanos }
}

/// A request for two teas by who has seen this total.
fn seeing(total: Money) -> proto::CreateOrderRequest {
    proto::CreateOrderRequest { expected_total: Some(total), ..placement(&[("tea", 2)]) }
}

/// The new total of a refusal, and its currency.
fn new_total(status: &Status) -> (String, String) {
    assert_eq!(reason(status), because(Code::FailedPrecondition, "TOTAL_CHANGED"));
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    (metadata["total"].clone(), metadata["currency"].clone())
}

#[tokio::test]
async fn d12_an_order_at_another_total_than_was_seen_is_refused_with_the_new_one() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    let order = anna.create_order(seeing(money("EUR", 8, 400_000_000))).await.unwrap().into_inner();
    assert_eq!(order.total, Some(money("EUR", 8, 400_000_000)));
    let before = shop.commits().await;
    for seen in [money("EUR", 8, 390_000_000), money("EUR", 0, 0), money("USD", 8, 400_000_000)] {
        let request = proto::CreateOrderRequest { request_id: uuid(), order_id: uuid(), ..seeing(seen) };
        let status = refused(anna.create_order(request).await);
        assert_eq!(new_total(&status), ("8.40".to_owned(), "EUR".to_owned()));
    }
    for none in [money("", 8, 0), money("eur", 8, 0), money("EUR", -8, 0), money("EUR", 8, 1), money("JPY", 8, 1)] {
        assert_eq!(bad_fields(anna.create_order(seeing(none)).await), ["expected_total"]);
    }
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn d12_a_repeated_request_gives_its_order_whatever_the_prices_are_by_then() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    for order_id in [String::new(), uuid()] {
        shop.catalogue.set(Mood::Sound);
        let request =
            proto::CreateOrderRequest { request_id: uuid(), order_id, ..seeing(money("EUR", 8, 400_000_000)) };
        let first = anna.create_order(request.clone()).await.unwrap().into_inner();
        shop.catalogue.set(Mood::Dearer);
        let before = shop.commits().await;
        assert_eq!(anna.create_order(request.clone()).await.unwrap().into_inner(), first);
        let other = proto::CreateOrderRequest { expected_total: Some(money("EUR", 9, 0)), ..request.clone() };
        assert_eq!(reason_of(anna.create_order(other).await), because(Code::InvalidArgument, "REQUEST_ID_REUSED"));
        let next = proto::CreateOrderRequest { request_id: uuid(), order_id: String::new(), ..request };
        let status = refused(anna.create_order(next.clone()).await);
        assert_eq!(new_total(&status), ("10.40".to_owned(), "EUR".to_owned()));
        assert_eq!(shop.commits().await, before);
        // Who agrees to the new total may use the refused request's id.
        let agreed = proto::CreateOrderRequest { expected_total: Some(money("EUR", 10, 400_000_000)), ..next };
        anna.create_order(agreed).await.unwrap();
    }
}

/// Who has made an order's events happen, as a caller is told; by the list and by the watch alike, of an order that has
/// ended.
async fn actors(client: &mut Client, name: &str) -> Vec<String> {
    let request = proto::ListOrderEventsRequest { parent: name.to_owned(), ..Default::default() };
    let listed = client.list_order_events(request).await.unwrap().into_inner().order_events;
    let request = proto::WatchOrderRequest { name: name.to_owned(), ..Default::default() };
    let mut watch = client.watch_order(request).await.unwrap().into_inner();
    let mut watched = Vec::new();
    while let Some(response) = watch.message().await.unwrap() {
        watched.push(response.order_event.unwrap());
    }
    assert_eq!(watched, listed);
    listed.into_iter().map(|event| event.actor).collect()
}

#[tokio::test]
async fn d13_every_event_tells_who_made_it_happen() {
    let shop = Shop::open().await;
    let sold = shop.allocated("anna").await.name;
    shop.staff().ship_order(ship(&sold)).await.unwrap();
    shop.staff().deliver_order(deliver(&sold)).await.unwrap();
    let mut request = placement(&[("tea", 1)]);
    request.order.as_mut().unwrap().customer = "users/anna".to_owned();
    let cancelled = shop.staff().create_order(request).await.unwrap().into_inner().name;
    shop.customer("anna").cancel_order(cancel(&cancelled)).await.unwrap();
    for mut client in [shop.staff(), shop.caller("mailer", "service")] {
        let all = ["users/anna", "inventory", "inventory", "users/sam", "users/sam"];
        assert_eq!(actors(&mut client, &sold).await, all);
        assert_eq!(actors(&mut client, &cancelled).await, ["users/sam", "users/anna"]);
    }
    let mut anna = shop.customer("anna");
    assert_eq!(actors(&mut anna, &sold).await, ["users/anna", "inventory", "inventory", "staff", "staff"]);
    assert_eq!(actors(&mut anna, &cancelled).await, ["staff", "users/anna"]);
}

#[tokio::test]
async fn d13_what_happens_because_the_inventory_is_silent_is_told_to_be_the_service_s_own() {
    let shop = Shop::with(|config| {
        config.reservation_timeout = Duration::from_millis(100);
        config.watchdog_interval = Duration::from_millis(10);
    })
    .await;
    let name = shop.order("anna").await.name;
    shop.when(&name, order::State::Rejected).await;
    assert_eq!(actors(&mut shop.customer("anna"), &name).await, ["users/anna", "orders", "orders", "orders", "orders"]);
    let published = shop.published(&name).await;
    assert!(published[1..].iter().all(|event| event.context.actor == "services/orders"), "{published:?}");
}

#[tokio::test]
async fn d13_events_of_releases_that_kept_no_actor_are_shown_without_one() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.store_sql("UPDATE commits SET context = '' WHERE stream = ?", &name).await;
    shop.customer("anna").cancel_order(cancel(&name)).await.unwrap();
    assert_eq!(actors(&mut shop.customer("anna"), &name).await, ["", "users/anna"]);
}

#[tokio::test]
async fn d13_staff_order_for_customers_who_exist() {
    let shop = Shop::open().await;
    let for_whom = |customer: &str| {
        let mut request = placement(&[("tea", 1)]);
        request.order.as_mut().unwrap().customer = customer.to_owned();
        request
    };
    let mut staff = shop.staff();
    for customer in ["users/nobody", "users/gone"] {
        assert_eq!(bad_fields(staff.create_order(for_whom(customer)).await), ["order.customer"], "{customer}");
    }
    let unanswered = refused(staff.create_order(for_whom("users/away")).await);
    assert_eq!(reason(&unanswered), because(Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
    assert!(!unanswered.message().contains("no answer"), "the cause is the log's affair: {unanswered:?}");
    assert_eq!(shop.commits().await, []);
    staff.create_order(for_whom("users/anna")).await.unwrap();
    // Who orders for themselves has a token, which tells that they exist.
    shop.customer("nobody").create_order(placement(&[("tea", 1)])).await.unwrap();
}

#[tokio::test]
async fn d3_reasons_that_first_releases_have_stored_are_told_without_the_stock() {
    const TOLD: &str = "the reservation had expired, and there were too few pieces of products/tea";
    let shop = Shop::open().await;
    let name = shop.confirmed("anna").await.name;
    let reason = "the reservation had expired, and there were only 37 of 1000 pieces of products/tea".to_owned();
    let failed = events::AllocationFailed { order: name.clone(), reason };
    shop.inventory.says(&name, "allocation_failed", failed.encode_to_vec()).await;
    assert_eq!(shop.when(&name, order::State::Cancelled).await.state_reason, TOLD);

    let mut anna = shop.customer("anna");
    let request = proto::ListOrderEventsRequest { parent: name.clone(), ..Default::default() };
    let listed = anna.list_order_events(request).await.unwrap().into_inner().order_events;
    let Some(Event::OrderCancelled(cancelled)) = &listed[2].event else { panic!("{listed:?}") };
    assert_eq!(cancelled.reason, TOLD);
    let request = proto::WatchOrderRequest { name: name.clone(), ..Default::default() };
    let mut watch = anna.watch_order(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(response) = watch.message().await.unwrap() {
        last = Some(response);
    }
    let last = last.unwrap();
    assert_eq!((last.order.unwrap().state_reason.as_str(), last.order_event.as_ref()), (TOLD, Some(&listed[2])));
    eventually("the list to show the reason", async || {
        let filter = "state = CANCELLED".to_owned();
        let list = proto::ListOrdersRequest { filter, ..Default::default() };
        let orders = shop.customer("anna").list_orders(list).await.unwrap().into_inner().orders;
        orders.first().is_some_and(|order| order.state_reason == TOLD)
    })
    .await;
}

#[tokio::test]
async fn d_a_customer_has_no_more_open_orders_than_the_limit() {
    let shop = Shop::with(|config| config.max_open_orders_per_customer = 2).await;
    let mut anna = shop.customer("anna");
    let request = || proto::CreateOrderRequest { request_id: uuid(), ..placement(&[("tea", 1)]) };
    let first_request = request();
    let first = anna.create_order(first_request.clone()).await.unwrap().into_inner();
    anna.create_order(request()).await.unwrap();
    let before = shop.commits().await;
    let status = refused(anna.create_order(request()).await);
    assert_eq!(reason(&status), because(Code::ResourceExhausted, "TOO_MANY_OPEN_ORDERS"));
    assert_eq!(status.get_error_details().error_info().unwrap().metadata["limit"], "2");
    // A request that has its order keeps it.
    assert_eq!(anna.create_order(first_request).await.unwrap().into_inner(), first);
    assert_eq!(shop.commits().await, before);
    // Others aren't concerned, nor is what staff do.
    shop.customer("bert").create_order(request()).await.unwrap();
    let mut by_staff = request();
    by_staff.order.as_mut().unwrap().customer = "users/anna".to_owned();
    let third = shop.staff().create_order(by_staff).await.unwrap().into_inner();
    for name in [&first.name, &third.name] {
        anna.cancel_order(cancel(name)).await.unwrap();
    }
    eventually("room for another order", async || shop.customer("anna").create_order(request()).await.is_ok()).await;
}

//! Repeatable requests (AIP-155): one request id, one effect, one answer.

use std::collections::BTreeSet;

use meshwork_aip::request;
use meshwork_api::meshwork::orders::v1::{self as proto, Order, order};
use meshwork_chassis::request::RequestKey;
use prost::Message;
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

use crate::catalogue::Mood;
use crate::refusal::{because, reason_of};
use crate::shop::{Shop, cancel, deliver, eventually, placement, ship, uuid};

/// A request for pieces of tea.
pub fn create(request_id: &str, pieces: i64) -> proto::CreateOrderRequest {
    proto::CreateOrderRequest { request_id: request_id.to_owned(), ..placement(&[("tea", pieces)]) }
}

/// The answer's bytes, and whether it is marked as given before.
#[track_caller]
pub fn answer(result: Result<Response<Order>, Status>) -> (Vec<u8>, bool) {
    let response = result.unwrap();
    let replayed = match response.metadata().get("idempotent-replay") {
        Some(value) => value == "true",
        None => false,
    };
    (response.into_inner().encode_to_vec(), replayed)
}

/// How a request is refused whose id came with another body.
pub fn reused() -> (Code, String) {
    because(Code::InvalidArgument, "REQUEST_ID_REUSED")
}

#[tokio::test]
async fn a_repeated_placement_is_answered_as_the_first_time_whatever_has_happened_since() {
    let mut shop = Shop::open().await;
    let request = create(&uuid(), 2);
    let (first, replayed) = answer(shop.customer("anna").create_order(request.clone()).await);
    assert!(!replayed);
    let order = Order::decode(first.as_slice()).unwrap();
    let before = shop.commits().await;
    assert_eq!(answer(shop.customer("anna").create_order(request.clone()).await), (first.clone(), true));
    assert_eq!(shop.commits().await, before);

    shop.inventory.reserves(&order.name).await;
    shop.when(&order.name, order::State::Confirmed).await;
    assert_eq!(answer(shop.customer("anna").create_order(request.clone()).await), (first.clone(), true));
    shop.customer("anna").cancel_order(cancel(&order.name)).await.unwrap();
    shop.lose_catalogue().await;
    assert_eq!(answer(shop.customer("anna").create_order(request).await), (first, true));
    assert_eq!(shop.history(&order.name).await, ["order_created", "order_confirmed", "order_cancelled"]);
}

#[tokio::test]
async fn a_request_id_with_another_body_is_refused() {
    let shop = Shop::open().await;
    let (id, chosen) = (uuid(), uuid());
    let mut anna = shop.customer("anna");
    anna.create_order(proto::CreateOrderRequest { order_id: chosen.clone(), ..create(&id, 2) }).await.unwrap();
    let before = shop.commits().await;
    let bodies = [
        create(&id, 2),
        proto::CreateOrderRequest { order_id: chosen, ..create(&id, 3) },
        proto::CreateOrderRequest { order_id: uuid(), ..create(&id, 2) },
        proto::CreateOrderRequest { request_id: id.clone(), ..placement(&[("cup", 2)]) },
    ];
    for body in bodies {
        assert_eq!(reason_of(anna.create_order(body).await), reused());
    }
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn a_request_id_of_an_order_that_is_named_after_it_can_not_come_with_another_body() {
    let shop = Shop::open().await;
    let id = uuid();
    let mut anna = shop.customer("anna");
    let request = create(&id, 2);
    let (first, _) = answer(anna.create_order(request.clone()).await);
    let own = Order::decode(first.as_slice()).unwrap().name;
    let before = shop.commits().await;
    // The order's stream is the request's claim: there is nothing beside it.
    assert_eq!(before.iter().map(|commit| commit.stream.as_str()).collect::<Vec<_>>(), [own.as_str()]);
    let bodies = [
        create(&id, 3),
        proto::CreateOrderRequest { request_id: id.clone(), ..placement(&[("cup", 2)]) },
        // Its prices can't be summed up, and it is another body all the same.
        proto::CreateOrderRequest { request_id: id.clone(), ..placement(&[("tea", 2), ("rice", 1)]) },
        proto::CreateOrderRequest { request_id: id.clone(), ..placement(&[("air", 2)]) },
        proto::CreateOrderRequest { order_id: uuid(), ..create(&id, 2) },
        proto::CreateOrderRequest { order_id: own.replace("orders/", ""), ..create(&id, 2) },
    ];
    for body in bodies {
        assert_eq!(reason_of(anna.create_order(body).await), reused());
    }
    shop.catalogue.set(Mood::Down);
    assert_eq!(reason_of(anna.create_order(create(&id, 3)).await), reused());
    assert_eq!(answer(anna.create_order(request).await), (first, true), "it needs no prices any more");
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn a_repeated_placement_with_a_chosen_id_needs_no_catalogue_and_no_write() {
    let shop = Shop::open().await;
    let request = proto::CreateOrderRequest { order_id: uuid(), ..create(&uuid(), 2) };
    let (first, replayed) = answer(shop.customer("anna").create_order(request.clone()).await);
    assert!(!replayed);
    let before = shop.commits().await;
    assert_eq!(before.len(), 2, "the claim and the order");
    shop.catalogue.set(Mood::Down);
    assert_eq!(answer(shop.customer("anna").create_order(request.clone()).await), (first, true));
    // Whose id is taken is told that, whatever the catalogue does.
    let other = proto::CreateOrderRequest { request_id: uuid(), ..request };
    let taken = shop.customer("anna").create_order(other).await;
    assert_eq!(reason_of(taken), because(Code::AlreadyExists, "ORDER_ID_TAKEN"));
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn two_people_with_one_request_id_place_two_orders() {
    let shop = Shop::open().await;
    let request = create(&uuid(), 2);
    let anna = shop.customer("anna").create_order(request.clone()).await.unwrap().into_inner();
    let bert = shop.customer("bert").create_order(request.clone()).await.unwrap().into_inner();
    assert_ne!(anna.name, bert.name);
    let staff = shop.staff().create_order(request).await.unwrap().into_inner();
    assert_eq!(staff.customer, "users/sam");
}

#[tokio::test]
async fn a_placement_that_was_refused_can_be_sent_again() {
    let shop = Shop::open().await;
    let request = create(&uuid(), 2);
    let mut anna = shop.customer("anna");
    shop.catalogue.set(Mood::Down);
    let refused = anna.create_order(request.clone()).await;
    assert_eq!(reason_of(refused), because(Code::Unavailable, "DEPENDENCY_UNAVAILABLE"));
    assert_eq!(shop.commits().await, []);
    shop.catalogue.set(Mood::Sound);
    let (_, replayed) = answer(anna.create_order(request).await);
    assert!(!replayed);
}

#[tokio::test]
async fn of_many_identical_placements_at_once_one_makes_the_order() {
    let shop = Shop::open().await;
    for order_id in [String::new(), uuid()] {
        let request = proto::CreateOrderRequest { order_id, ..create(&uuid(), 2) };
        let mut calls = JoinSet::new();
        for _ in 0..16 {
            let (mut anna, request) = (shop.customer("anna"), request.clone());
            calls.spawn(async move { anna.create_order(request).await });
        }
        let answers: Vec<_> = calls.join_all().await.into_iter().map(answer).collect();
        assert!(answers.iter().all(|(order, _)| *order == answers[0].0), "{answers:?}");
        assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1, "who made it and who found it");
        let order = Order::decode(answers[0].0.as_slice()).unwrap();
        assert_eq!(shop.get(&order.name).await, order);
        assert_eq!(shop.history(&order.name).await, ["order_created"]);
    }
    assert_eq!(created(&shop).await, 2);
}

/// How many orders have been created.
async fn created(shop: &Shop) -> usize {
    let commits = shop.commits().await;
    commits.iter().flat_map(|commit| &commit.events).filter(|event| event.event_type == "order_created").count()
}

#[tokio::test]
async fn of_a_placement_with_a_chosen_id_and_one_without_at_once_one_stands() {
    const PAIRS: usize = 20;
    let shop = Shop::open().await;
    let (mut one, mut other) = (shop.customer("anna"), shop.customer("anna"));
    for pair in 0..PAIRS {
        let unnamed = create(&uuid(), 2);
        let named = proto::CreateOrderRequest { order_id: uuid(), ..unnamed.clone() };
        let (first, second) = if pair % 2 == 0 { (unnamed, named) } else { (named, unnamed) };
        // Both times: a request that comes again is answered as it was.
        for again in [false, true] {
            let answers = tokio::join!(one.create_order(first.clone()), other.create_order(second.clone()));
            let (placed, refused): (Vec<_>, Vec<_>) = <[_; 2]>::from(answers).into_iter().partition(Result::is_ok);
            assert_eq!((placed.len(), refused.len()), (1, 1), "{pair}");
            for placed in placed {
                assert_eq!(answer(placed).1, again);
            }
            for refused in refused {
                assert_eq!(reason_of(refused), reused());
            }
        }
    }
    assert_eq!(created(&shop).await, PAIRS);
    let streams: BTreeSet<_> = shop.commits().await.into_iter().map(|commit| commit.stream).collect();
    assert!(streams.iter().all(|stream| stream.starts_with("orders/")), "{streams:?}");
}

#[tokio::test]
async fn a_name_that_a_request_has_claimed_is_no_orders() {
    let shop = Shop::open().await;
    let request = proto::CreateOrderRequest { order_id: uuid(), ..create(&uuid(), 2) };
    let (mut anna, mut staff) = (shop.customer("anna"), shop.staff());
    let order = anna.create_order(request.clone()).await.unwrap().into_inner().name;
    let commits = shop.commits().await;
    let claimed = commits.iter().find(|commit| commit.stream != order).unwrap().stream.clone();
    assert_eq!(shop.history(&claimed).await, ["request_claimed"]);

    let absent = because(Code::NotFound, "ORDER_NOT_FOUND");
    let get = proto::GetOrderRequest { name: claimed.clone(), ..Default::default() };
    let events = proto::ListOrderEventsRequest { parent: claimed.clone(), ..Default::default() };
    assert_eq!(reason_of(staff.get_order(get.clone()).await), absent);
    assert_eq!(reason_of(staff.list_order_events(events).await), absent);
    assert_eq!(reason_of(staff.cancel_order(cancel(&claimed)).await), absent);
    assert_eq!(reason_of(anna.get_order(get).await), because(Code::PermissionDenied, "NOT_ALLOWED"));
    let id = claimed.replace("orders/", "");
    for request_id in [String::new(), uuid()] {
        let named = proto::CreateOrderRequest { order_id: id.clone(), ..create(&request_id, 2) };
        assert_eq!(reason_of(anna.create_order(named).await), because(Code::AlreadyExists, "ORDER_ID_TAKEN"));
    }
    let named = proto::CreateOrderRequest { order_id: id, ..request };
    assert_eq!(reason_of(anna.create_order(named).await), reused());
    shop.inventory.reserves(&claimed).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.parked().await, []);
    assert_eq!(shop.commits().await, commits);
    let listed = async || staff_list(&shop).await == [order.clone()];
    eventually("the order to be listed, alone", listed).await;
}

/// The names of all orders that are listed.
async fn staff_list(shop: &Shop) -> Vec<String> {
    let listed = shop.staff().list_orders(proto::ListOrdersRequest::default()).await.unwrap().into_inner();
    listed.orders.into_iter().map(|order| order.name).collect()
}

#[tokio::test]
async fn of_different_placements_with_one_request_id_at_once_one_stands() {
    let shop = Shop::open().await;
    let id = uuid();
    let mut calls = JoinSet::new();
    for pieces in 1..=8 {
        let (mut anna, request) = (shop.customer("anna"), create(&id, pieces));
        calls.spawn(async move { anna.create_order(request).await });
    }
    let (placed, refused): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!(placed.len(), 1);
    for refused in refused {
        assert_eq!(reason_of(refused), reused());
    }
}

#[tokio::test]
async fn of_two_bodies_that_were_both_placed_each_is_answered_with_its_own_order() {
    let shop = Shop::open().await;
    let (id, chosen) = (uuid(), uuid());
    let mut anna = shop.customer("anna");
    let unnamed = create(&id, 2);
    let named = proto::CreateOrderRequest { order_id: chosen.clone(), ..create(&id, 2) };
    let (first, _) = answer(anna.create_order(unnamed.clone()).await);
    // It came to an earlier release at the same moment: neither has seen the other.
    let body = proto::CreateOrderRequest { request_id: String::new(), ..named.clone() };
    let (principal, hash) = ("users/anna".to_owned(), request::hash(&body));
    let key = RequestKey { principal, method: "CreateOrder", id: id.clone(), hash };
    shop.place_unseen(&key, &format!("orders/{chosen}")).await;

    let before = shop.commits().await;
    for mood in [Mood::Sound, Mood::Down] {
        shop.catalogue.set(mood);
        assert_eq!(answer(anna.create_order(unnamed.clone()).await), (first.clone(), true));
        let (second, replayed) = answer(anna.create_order(named.clone()).await);
        assert_eq!(Order::decode(second.as_slice()).unwrap().name, format!("orders/{chosen}"));
        assert!(replayed);
        for other in [create(&id, 3), proto::CreateOrderRequest { order_id: uuid(), ..create(&id, 2) }] {
            assert_eq!(reason_of(anna.create_order(other).await), reused());
        }
    }
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn a_repeated_cancellation_is_answered_as_the_first_time() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let mut anna = shop.customer("anna");
    let request = proto::CancelOrderRequest { request_id: uuid(), etag: order.etag.clone(), ..cancel(&order.name) };
    let (first, replayed) = answer(anna.cancel_order(request.clone()).await);
    assert!(!replayed);
    // The etag is stale by now; the request has been carried out all the same.
    assert_eq!(answer(anna.cancel_order(request.clone()).await), (first, true));
    let before = shop.commits().await;
    let other_reason = proto::CancelOrderRequest { reason: "other".to_owned(), ..request.clone() };
    assert_eq!(reason_of(anna.cancel_order(other_reason).await), reused());
    let other = shop.order("anna").await;
    let placed = shop.commits().await;
    let other_order = proto::CancelOrderRequest { name: other.name.clone(), etag: String::new(), ..request.clone() };
    assert_eq!(reason_of(anna.cancel_order(other_order).await), reused());
    assert_eq!(shop.commits().await, placed);
    assert_eq!(placed.len(), before.len() + 1);
    let stranger = shop.customer("bert").cancel_order(request).await;
    assert_eq!(reason_of(stranger), because(Code::PermissionDenied, "NOT_ALLOWED"));
}

#[tokio::test]
async fn repeated_shipments_and_deliveries_are_answered_as_the_first_time() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let mut staff = shop.staff();
    let shipment = proto::ShipOrderRequest { request_id: uuid(), etag: order.etag.clone(), ..ship(&order.name) };
    // One id may be used with two methods: they are two requests.
    let delivery = proto::DeliverOrderRequest { request_id: shipment.request_id.clone(), ..deliver(&order.name) };
    let (shipped, replayed) = answer(staff.ship_order(shipment.clone()).await);
    assert!(!replayed);
    let (delivered, replayed) = answer(staff.deliver_order(delivery.clone()).await);
    assert!(!replayed);
    let before = shop.commits().await;
    assert_eq!(answer(staff.ship_order(shipment.clone()).await), (shipped, true));
    assert_eq!(answer(staff.deliver_order(delivery.clone()).await), (delivered, true));
    let otherwise = proto::ShipOrderRequest { tracking_number: "OTHER".to_owned(), ..shipment };
    assert_eq!(reason_of(staff.ship_order(otherwise).await), reused());
    let otherwise = proto::DeliverOrderRequest { etag: order.etag, ..delivery };
    assert_eq!(reason_of(staff.deliver_order(otherwise).await), reused());
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn a_request_that_found_its_work_done_is_answered_as_the_first_time_too() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let mut staff = shop.staff();
    staff.ship_order(ship(&order.name)).await.unwrap();
    let request = proto::ShipOrderRequest { request_id: uuid(), ..ship(&order.name) };
    let (first, replayed) = answer(staff.ship_order(request.clone()).await);
    assert!(!replayed);
    staff.deliver_order(deliver(&order.name)).await.unwrap();
    assert_eq!(answer(staff.ship_order(request).await), (first, true));
}

#[tokio::test]
async fn of_many_identical_changes_at_once_one_makes_the_change() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let request = proto::ShipOrderRequest { request_id: uuid(), etag: order.etag, ..ship(&order.name) };
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let (mut staff, request) = (shop.staff(), request.clone());
        calls.spawn(async move { staff.ship_order(request).await });
    }
    let answers: Vec<_> = calls.join_all().await.into_iter().map(answer).collect();
    assert!(answers.iter().all(|(order, _)| *order == answers[0].0), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1, "who made it and who found it");
    let types = ["order_created", "order_confirmed", "order_allocated", "order_shipped"];
    assert_eq!(shop.history(&order.name).await, types);
}

#[tokio::test]
async fn requests_that_were_refused_leave_nothing_behind() {
    let shop = Shop::open().await;
    let order = shop.confirmed("anna").await;
    let before = shop.commits().await;
    let request = proto::ShipOrderRequest { request_id: uuid(), ..ship(&order.name) };
    let refused = shop.staff().ship_order(request.clone()).await;
    assert_eq!(reason_of(refused), because(Code::FailedPrecondition, "STOCK_NOT_ALLOCATED"));
    assert_eq!(shop.commits().await, before);
    shop.inventory.allocates(&order.name).await;
    shop.inventory.was_heard().await;
    let (_, replayed) = answer(shop.staff().ship_order(request).await);
    assert!(!replayed);
}

//! The order's side of the saga (events.md §4.1): what the inventory says, and what becomes of the order.

use meshwork_api::meshwork::events::v1 as events;
use meshwork_api::meshwork::orders::v1::order;
use meshwork_events::Envelope;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::refusal::{because, reason, refused};
use crate::shop::{Shop, cancel, deliver, eventually, ship, uuid};

#[tokio::test]
async fn an_order_goes_from_its_creation_to_the_door() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.inventory.reserves(&name).await;
    let confirmed = shop.when(&name, order::State::Confirmed).await;
    assert_eq!(confirmed.allocate_time, None);

    let status = refused(shop.staff().ship_order(ship(&name)).await);
    assert_eq!(reason(&status), because(Code::FailedPrecondition, "STOCK_NOT_ALLOCATED"));
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(shop.get(&name).await, confirmed);

    shop.inventory.allocates(&name).await;
    shop.inventory.was_heard().await;
    let allocated = shop.get(&name).await;
    assert_eq!(allocated.state(), order::State::Confirmed);
    assert_eq!(allocated.allocate_time, allocated.update_time);

    let shipped = shop.staff().ship_order(ship(&name)).await.unwrap().into_inner();
    assert_eq!((shipped.state(), shipped.tracking_number.as_str()), (order::State::Shipped, "TRACK-1"));
    let delivered = shop.staff().deliver_order(deliver(&name)).await.unwrap().into_inner();
    assert_eq!(delivered.state(), order::State::Delivered);
    assert_eq!(shop.get(&name).await, delivered);

    let published = shop.published(&name).await;
    let types: Vec<_> = published.iter().map(|event| (event.version, event.event_type.as_str())).collect();
    let expected = [
        (1, "order_created"),
        (2, "order_confirmed"),
        (3, "order_allocated"),
        (4, "order_shipped"),
        (5, "order_delivered"),
    ];
    assert_eq!(types, expected);
    let confirmed = events::OrderConfirmed::decode(published[1].data.as_ref()).unwrap();
    assert_eq!((confirmed.customer.as_str(), confirmed.total), ("users/anna", delivered.total));
    let shipped = events::OrderShipped::decode(published[3].data.as_ref()).unwrap();
    assert_eq!((shipped.customer.as_str(), shipped.tracking_number.as_str()), ("users/anna", "TRACK-1"));
}

#[tokio::test]
async fn too_few_pieces_reject_an_order_and_say_of_what() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.inventory.rejects(&name).await;
    let rejected = shop.when(&name, order::State::Rejected).await;
    assert_eq!(rejected.state_reason, "too few pieces of products/tea");
    let published = shop.published(&name).await;
    let event = events::OrderRejected::decode(published[1].data.as_ref()).unwrap();
    assert_eq!((event.customer.as_str(), event.reason), ("users/anna", rejected.state_reason));
}

#[tokio::test]
async fn a_cancelled_order_does_not_listen_to_the_inventory() {
    let shop = Shop::open().await;
    let pending = shop.order("anna").await.name;
    let confirmed = shop.confirmed("anna").await.name;
    let allocated = shop.allocated("anna").await.name;
    for name in [&pending, &confirmed, &allocated] {
        let cancelled = shop.customer("anna").cancel_order(cancel(name)).await.unwrap().into_inner();
        assert_eq!(cancelled.state(), order::State::Cancelled);
    }
    let before = shop.commits().await;
    shop.inventory.reserves(&pending).await;
    shop.inventory.allocates(&confirmed).await;
    for name in [&pending, &confirmed, &allocated] {
        shop.inventory.rejects(name).await;
        shop.inventory.fails_to_allocate(name).await;
        shop.inventory.lets_expire(name).await;
    }
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn an_expired_reservation_rejects_a_pending_order_only() {
    let shop = Shop::open().await;
    let pending = shop.order("anna").await.name;
    let confirmed = shop.confirmed("anna").await;
    shop.inventory.lets_expire(&pending).await;
    shop.inventory.lets_expire(&confirmed.name).await;
    let rejected = shop.when(&pending, order::State::Rejected).await;
    assert_eq!(rejected.state_reason, "the reservation has expired");
    shop.inventory.was_heard().await;
    assert_eq!(shop.get(&confirmed.name).await, confirmed);
}

#[tokio::test]
async fn an_allocation_that_failed_cancels_confirmed_orders_only() {
    let shop = Shop::open().await;
    let pending = shop.order("anna").await;
    let confirmed = shop.confirmed("anna").await.name;
    let allocated = shop.allocated("anna").await;
    for name in [&pending.name, &confirmed, &allocated.name] {
        shop.inventory.fails_to_allocate(name).await;
    }
    let cancelled = shop.when(&confirmed, order::State::Cancelled).await;
    assert_eq!(cancelled.state_reason, "the shelf is empty");
    shop.inventory.was_heard().await;
    shop.when(&allocated.name, order::State::Cancelled).await;
    assert_eq!(shop.get(&pending.name).await, pending);
}

#[tokio::test]
async fn a_cancellation_that_races_the_inventory_or_staff_ends_in_one_state() {
    let shop = Shop::open().await;
    let cancels = async |name: &str| shop.customer("anna").cancel_order(cancel(name)).await;
    for _ in 0..5 {
        // Whether or not it is confirmed or allocated by then, it can be cancelled.
        let [pending, confirmed] = [shop.order("anna").await.name, shop.confirmed("anna").await.name];
        let says = async {
            shop.inventory.reserves(&pending).await;
            shop.inventory.allocates(&confirmed).await;
        };
        let ((), first, second) = tokio::join!(says, cancels(&pending), cancels(&confirmed));
        assert_eq!(first.unwrap().into_inner().state(), order::State::Cancelled);
        assert_eq!(second.unwrap().into_inner().state(), order::State::Cancelled);

        // Whoever comes second is refused, or finds nothing left to do.
        let (refused_name, allocated) = (shop.order("anna").await.name, shop.allocated("anna").await.name);
        let (_, cancelled) = tokio::join!(shop.inventory.rejects(&refused_name), cancels(&refused_name));
        let mut staff = shop.staff();
        let (shipped, called_off) = tokio::join!(staff.ship_order(ship(&allocated)), cancels(&allocated));
        shop.inventory.was_heard().await;
        let end = if cancelled.is_ok() { order::State::Cancelled } else { order::State::Rejected };
        assert_eq!(shop.get(&refused_name).await.state(), end);
        assert_ne!(shipped.is_ok(), called_off.is_ok(), "{shipped:?} {called_off:?}");
        let end = if shipped.is_ok() { order::State::Shipped } else { order::State::Cancelled };
        assert_eq!(shop.get(&allocated).await.state(), end);
        for status in [cancelled.err(), called_off.err(), shipped.err()].into_iter().flatten() {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        }
        for name in [&pending, &confirmed] {
            assert_eq!(shop.get(name).await.state(), order::State::Cancelled);
            assert_eq!(shop.history(name).await.last().unwrap(), "order_cancelled");
        }
    }
}

/// An inventory that was put back to an older copy gives versions again that it has given before.
#[tokio::test]
async fn e1_another_event_of_a_version_that_was_heard_is_heard_too() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.inventory.reserves(&name).await;
    let allocated = shop.inventory.allocates(&name).await;
    shop.when(&name, order::State::Confirmed).await;
    shop.inventory.was_heard().await;
    let failed = events::AllocationFailed { order: name.clone(), reason: "the shelf is empty".to_owned() };
    let event_type = "allocation_failed".to_owned();
    let again = Envelope { event_type, data: failed.encode_to_vec().into(), ..allocated.clone() };
    shop.inventory.again(&again).await;
    let cancelled = shop.when(&name, order::State::Cancelled).await;
    assert_eq!(cancelled.state_reason, "the shelf is empty");
    // The events themselves, once more, do nothing.
    let before = shop.commits().await;
    for event in [&allocated, &again] {
        shop.inventory.again(event).await;
    }
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn events_of_the_inventory_that_come_again_do_nothing_again() {
    let shop = Shop::open().await;
    let through = shop.order("anna").await.name;
    let rejected = shop.order("anna").await.name;
    let expired = shop.order("anna").await.name;
    let failed = shop.order("anna").await.name;
    let said = [
        shop.inventory.reserves(&through).await,
        shop.inventory.allocates(&through).await,
        shop.inventory.rejects(&rejected).await,
        shop.inventory.lets_expire(&expired).await,
        shop.inventory.reserves(&failed).await,
        shop.inventory.fails_to_allocate(&failed).await,
    ];
    shop.inventory.was_heard().await;
    let before = shop.commits().await;
    let types = shop.history(&through).await;
    assert_eq!(types, ["order_created", "order_confirmed", "order_allocated"]);
    assert_eq!(shop.history(&rejected).await, ["order_created", "order_rejected"]);
    assert_eq!(shop.history(&expired).await, ["order_created", "order_rejected"]);
    assert_eq!(shop.history(&failed).await, ["order_created", "order_confirmed", "order_cancelled"]);
    for _ in 0..2 {
        for event in &said {
            shop.inventory.again(event).await;
        }
    }
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
    // Nor after the order went on.
    shop.staff().ship_order(ship(&through)).await.unwrap();
    let before = shop.commits().await;
    for event in &said {
        shop.inventory.again(event).await;
    }
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn the_same_event_as_a_new_one_does_nothing_either() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let before = shop.commits().await;
    // The inventory answers a repeated question with its last outcome, as a new event.
    shop.inventory.reserves(&order.name).await;
    shop.inventory.allocates(&order.name).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn what_is_said_while_the_service_is_down_is_heard_later() {
    let mut shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    shop.stop().await;
    shop.inventory.reserves(&name).await;
    shop.inventory.allocates(&name).await;
    shop.start();
    shop.when(&name, order::State::Confirmed).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.history(&name).await, ["order_created", "order_confirmed", "order_allocated"]);
}

#[tokio::test]
async fn events_that_concern_no_order_of_ours_are_passed_over() {
    let shop = Shop::open().await;
    let unknown = format!("orders/{}", uuid());
    shop.inventory.reserves(&unknown).await;
    shop.inventory.says("orders/a", "stock_painted_blue", vec![0xff]).await;
    shop.inventory.was_heard().await;
    assert_eq!(shop.commits().await, []);
    assert_eq!(shop.parked().await, []);
}

#[tokio::test]
async fn an_event_that_can_not_be_understood_parks_its_reservation_alone() {
    let shop = Shop::open().await;
    let (poisoned, sound) = (shop.order("anna").await, shop.order("anna").await);
    let garbage = shop.inventory.says(&poisoned.name, "stock_reserved", vec![0xff, 0xff]).await;
    let behind = shop.inventory.reserves(&poisoned.name).await;
    let nameless = events::StockReserved { order: "an order".to_owned(), ..Default::default() };
    let nameless = shop.inventory.says("orders/b", "stock_reserved", nameless.encode_to_vec()).await;
    shop.inventory.reserves(&sound.name).await;
    shop.when(&sound.name, order::State::Confirmed).await;
    eventually("three events to be parked", async || shop.parked().await.len() == 3).await;
    let parked: Vec<_> = shop.parked().await.into_iter().map(|event| event.id).collect();
    assert!([garbage, behind, nameless].iter().all(|event| parked.contains(&event.id)), "{parked:?}");
    assert_eq!(shop.get(&poisoned.name).await, poisoned);
}

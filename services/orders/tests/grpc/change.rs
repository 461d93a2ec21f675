//! Cancelling, shipping and delivering: what is refused, and that nothing is written then.

use meshwork_api::meshwork::orders::v1::{self as proto, order};
use tonic::Code;
use tonic_types::StatusExt;

use crate::refusal::{bad_fields, because, reason, reason_of, refused};
use crate::shop::{Shop, cancel, deliver, ship};

const BAD_NAMES: [&str; 7] =
    ["", "orders", "orders/", "orders/A", "orders/a/events/1", "users/anna", "orders/a-name-that-ends-with-"];
const BAD_ETAGS: [&str; 6] = ["v1", "1", "\"1\"", "W/\"v1\"", "\"v1", "\"vx\""];

#[tokio::test]
async fn bad_fields_are_named_and_nothing_is_written() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let before = shop.commits().await;
    let (mut anna, mut staff) = (shop.customer("anna"), shop.staff());
    for name in BAD_NAMES {
        assert_eq!(bad_fields(anna.cancel_order(cancel(name)).await), ["name"], "{name}");
        assert_eq!(bad_fields(staff.ship_order(ship(name)).await), ["name"], "{name}");
        assert_eq!(bad_fields(staff.deliver_order(deliver(name)).await), ["name"], "{name}");
    }
    for etag in BAD_ETAGS.map(str::to_owned) {
        let cancelled = proto::CancelOrderRequest { etag: etag.clone(), ..cancel(&order.name) };
        assert_eq!(bad_fields(anna.cancel_order(cancelled).await), ["etag"], "{etag}");
        let shipped = proto::ShipOrderRequest { etag: etag.clone(), ..ship(&order.name) };
        assert_eq!(bad_fields(staff.ship_order(shipped).await), ["etag"], "{etag}");
        let delivered = proto::DeliverOrderRequest { etag: etag.clone(), ..deliver(&order.name) };
        assert_eq!(bad_fields(staff.deliver_order(delivered).await), ["etag"], "{etag}");
    }
    for reason in ["r".repeat(201), "\u{7}".to_owned()] {
        let cancelled = proto::CancelOrderRequest { reason, ..cancel(&order.name) };
        assert_eq!(bad_fields(anna.cancel_order(cancelled).await), ["reason"]);
    }
    for tracking_number in ["".to_owned(), " \t".to_owned(), "t".repeat(101), "a\0b".to_owned()] {
        let shipped = proto::ShipOrderRequest { tracking_number, ..ship(&order.name) };
        assert_eq!(bad_fields(staff.ship_order(shipped).await), ["tracking_number"]);
    }
    let bad_id = || "not-a-uuid".to_owned();
    let everything = proto::CancelOrderRequest {
        name: "order".to_owned(),
        reason: "r".repeat(201),
        etag: "x".to_owned(),
        request_id: bad_id(),
    };
    assert_eq!(bad_fields(anna.cancel_order(everything).await), ["name", "reason", "etag", "request_id"]);
    let shipped = proto::ShipOrderRequest { request_id: bad_id(), ..ship(&order.name) };
    assert_eq!(bad_fields(staff.ship_order(shipped).await), ["request_id"]);
    let delivered = proto::DeliverOrderRequest { request_id: bad_id(), ..deliver(&order.name) };
    assert_eq!(bad_fields(staff.deliver_order(delivered).await), ["request_id"]);
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn texts_of_the_largest_size_are_taken() {
    let shop = Shop::open().await;
    let reason = "ü".repeat(200);
    let order = shop.order("anna").await;
    let cancelled = proto::CancelOrderRequest { reason: reason.clone(), ..cancel(&order.name) };
    let cancelled = shop.customer("anna").cancel_order(cancelled).await.unwrap().into_inner();
    assert_eq!(cancelled.state_reason, reason);
    let order = shop.allocated("anna").await;
    let shipped = proto::ShipOrderRequest { tracking_number: "t".repeat(100), ..ship(&order.name) };
    let shipped = shop.staff().ship_order(shipped).await.unwrap().into_inner();
    assert_eq!(shipped.tracking_number, "t".repeat(100));
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_the_current_one_is_taken() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let stale = order.etag.clone();
    shop.inventory.reserves(&order.name).await;
    let order = shop.when(&order.name, order::State::Confirmed).await;
    assert_ne!(order.etag, stale);
    let before = shop.commits().await;
    for etag in [stale.clone(), "\"v99\"".to_owned()] {
        let cancelled = proto::CancelOrderRequest { etag: etag.clone(), ..cancel(&order.name) };
        let cancelled = shop.customer("anna").cancel_order(cancelled).await;
        assert_eq!(reason_of(cancelled), because(Code::Aborted, "ETAG_MISMATCH"));
        let shipped = proto::ShipOrderRequest { etag: etag.clone(), ..ship(&order.name) };
        assert_eq!(reason_of(shop.staff().ship_order(shipped).await), because(Code::Aborted, "ETAG_MISMATCH"));
        let delivered = proto::DeliverOrderRequest { etag, ..deliver(&order.name) };
        assert_eq!(reason_of(shop.staff().deliver_order(delivered).await), because(Code::Aborted, "ETAG_MISMATCH"));
    }
    assert_eq!(shop.commits().await, before);
    let current = proto::CancelOrderRequest { etag: order.etag, ..cancel(&order.name) };
    let cancelled = shop.customer("anna").cancel_order(current).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), order::State::Cancelled);
    assert_eq!(cancelled.state_reason, "cancelled on request");
}

#[tokio::test]
async fn of_many_who_ship_with_one_etag_one_succeeds() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let mut calls = tokio::task::JoinSet::new();
    for at in 0..8 {
        let mut staff = shop.staff();
        let tracking_number = format!("TRACK-{at}");
        let request = proto::ShipOrderRequest { tracking_number, etag: order.etag.clone(), ..ship(&order.name) };
        calls.spawn(async move { staff.ship_order(request).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    for lost in lost {
        assert_eq!(reason_of(lost), because(Code::Aborted, "ETAG_MISMATCH"));
    }
    let winner = won.into_iter().next().unwrap().unwrap().into_inner();
    assert_eq!(shop.get(&order.name).await, winner);
}

#[tokio::test]
async fn of_many_who_cancel_at_once_all_find_it_done_once() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut anna, request) = (shop.customer("anna"), cancel(&order.name));
        calls.spawn(async move { anna.cancel_order(request).await });
    }
    let answers: Vec<_> = calls.join_all().await.into_iter().map(|answer| answer.unwrap().into_inner()).collect();
    let cancelled = shop.get(&order.name).await;
    assert_eq!(answers, vec![cancelled; 8]);
    assert_eq!(shop.history(&order.name).await, ["order_created", "order_cancelled"]);
}

#[tokio::test]
async fn states_that_do_not_allow_a_change_are_named() {
    let shop = Shop::open().await;
    let pending = shop.order("anna").await.name;
    let rejected = shop.order("anna").await.name;
    shop.inventory.rejects(&rejected).await;
    shop.when(&rejected, order::State::Rejected).await;
    let shipped = shop.allocated("anna").await.name;
    shop.staff().ship_order(ship(&shipped)).await.unwrap();
    let cancelled = shop.order("anna").await.name;
    shop.customer("anna").cancel_order(cancel(&cancelled)).await.unwrap();
    let before = shop.commits().await;
    let mut staff = shop.staff();
    let other_carrier = proto::ShipOrderRequest { tracking_number: "OTHER".to_owned(), ..ship(&shipped) };
    let refusals = [
        (refused(staff.ship_order(ship(&pending)).await), "PENDING"),
        (refused(staff.deliver_order(deliver(&pending)).await), "PENDING"),
        (refused(staff.cancel_order(cancel(&rejected)).await), "REJECTED"),
        (refused(staff.ship_order(ship(&rejected)).await), "REJECTED"),
        (refused(staff.cancel_order(cancel(&shipped)).await), "SHIPPED"),
        (refused(staff.ship_order(other_carrier).await), "SHIPPED"),
        (refused(staff.ship_order(ship(&cancelled)).await), "CANCELLED"),
        (refused(staff.deliver_order(deliver(&cancelled)).await), "CANCELLED"),
    ];
    for (status, state) in refusals {
        assert_eq!(reason(&status), because(Code::FailedPrecondition, "ORDER_STATE"), "{status:?}");
        assert_eq!(status.get_error_details().error_info().unwrap().metadata["state"], state, "{status:?}");
    }
    assert_eq!(shop.commits().await, before);
}

#[tokio::test]
async fn what_is_done_already_is_answered_and_not_done_twice() {
    let shop = Shop::open().await;
    let cancelled = shop.order("anna").await.name;
    let first = shop.customer("anna").cancel_order(cancel(&cancelled)).await.unwrap().into_inner();
    let delivered = shop.allocated("anna").await.name;
    shop.staff().ship_order(ship(&delivered)).await.unwrap();
    let last = shop.staff().deliver_order(deliver(&delivered)).await.unwrap().into_inner();
    let before = shop.commits().await;
    assert_eq!(shop.customer("anna").cancel_order(cancel(&cancelled)).await.unwrap().into_inner(), first);
    assert_eq!(shop.staff().ship_order(ship(&delivered)).await.unwrap().into_inner(), last);
    assert_eq!(shop.staff().deliver_order(deliver(&delivered)).await.unwrap().into_inner(), last);
    assert_eq!(shop.commits().await, before);
}

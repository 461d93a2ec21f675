//! Lists that show what their caller has just done.

use std::time::Duration;

use meshwork_aip::request::REPLAY;
use meshwork_api::meshwork::orders::v1::{self as proto, Order};
use meshwork_chassis::consistency::{ConsistencyToken, EventsPlace, STALE, TOKEN, WalPosition};
use tonic::{Request, Response};

use crate::refusal::bad_fields;
use crate::shop::{PATIENCE, Shop, cancel, deliver, placement, ship, uuid};

/// The token that a command has answered with.
fn token(answer: &Response<Order>) -> String {
    let token = answer.metadata().get(TOKEN).unwrap_or_else(|| panic!("no token: {answer:?}"));
    token.to_str().unwrap().to_owned()
}

fn list(token: &str) -> Request<proto::ListOrdersRequest> {
    let mut request = Request::new(proto::ListOrdersRequest { page_size: 200, ..Default::default() });
    request.metadata_mut().insert(TOKEN, token.parse().unwrap());
    request
}

#[tokio::test]
async fn a_list_shows_what_its_caller_has_just_done() {
    let shop = Shop::open().await;
    let (mut anna, mut staff) = (shop.customer("anna"), shop.staff());
    let mut checked = 0;
    for _ in 0..20 {
        let created = anna.create_order(placement(&[("tea", 2)])).await.unwrap();
        let listed = anna.list_orders(list(&token(&created))).await.unwrap();
        // On a machine that is very slow the list may say that it is stale; it must never claim to be fresh and lack the order.
        if listed.metadata().get(STALE).is_none() {
            assert!(listed.get_ref().orders.contains(created.get_ref()), "{created:?}");
            checked += 1;
        }
        let cancelled = anna.cancel_order(cancel(&created.get_ref().name)).await.unwrap();
        let listed = staff.list_orders(list(&token(&cancelled))).await.unwrap();
        if listed.metadata().get(STALE).is_none() {
            assert!(listed.get_ref().orders.contains(cancelled.get_ref()), "{cancelled:?}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no list was fresh");
}

#[tokio::test]
async fn every_command_answers_with_a_token_and_so_does_its_replay() {
    let shop = Shop::open().await;
    let (mut anna, mut staff) = (shop.customer("anna"), shop.staff());
    let name = shop.allocated("anna").await.name;
    let shipping = proto::ShipOrderRequest { request_id: uuid(), ..ship(&name) };
    let delivering = proto::DeliverOrderRequest { request_id: uuid(), ..deliver(&name) };
    let placing = proto::CreateOrderRequest { request_id: uuid(), ..placement(&[("tea", 1)]) };
    let created = anna.create_order(placing.clone()).await.unwrap();
    let cancelling = proto::CancelOrderRequest { request_id: uuid(), ..cancel(&created.get_ref().name) };
    let cancelled = anna.cancel_order(cancelling.clone()).await.unwrap();
    let shipped = staff.ship_order(shipping.clone()).await.unwrap();
    let delivered = staff.deliver_order(delivering.clone()).await.unwrap();
    assert_ne!(token(&created), token(&cancelled));
    assert_ne!(token(&shipped), token(&delivered));
    let again = [
        (anna.create_order(placing).await.unwrap(), created),
        (anna.cancel_order(cancelling).await.unwrap(), cancelled),
        (staff.ship_order(shipping).await.unwrap(), shipped),
        (staff.deliver_order(delivering).await.unwrap(), delivered),
    ];
    for (second, first) in again {
        assert!(second.metadata().contains_key(REPLAY));
        assert_eq!(token(&second), token(&first), "{first:?}");
    }
}

#[tokio::test]
async fn a_command_with_nothing_left_to_do_answers_with_the_place_of_what_was_done() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    let mut anna = shop.customer("anna");
    let cancelled = anna.cancel_order(cancel(&name)).await.unwrap();
    let noticed = proto::CancelOrderRequest { request_id: uuid(), ..cancel(&name) };
    for request in [cancel(&name), noticed.clone(), noticed] {
        assert_eq!(token(&anna.cancel_order(request).await.unwrap()), token(&cancelled));
    }
}

#[tokio::test]
async fn a_list_that_cant_be_fresh_comes_all_the_same_and_says_so() {
    let shop = Shop::open().await;
    let created = shop.customer("anna").create_order(placement(&[("tea", 2)])).await.unwrap();
    let place = token(&created).parse::<ConsistencyToken>().unwrap().events.unwrap();
    let mut anna = shop.customer("anna");
    for ahead in [
        EventsPlace { n: place.n + 1_000_000, ..place },
        // A partition that the store doesn't have.
        EventsPlace { partition: u16::MAX, n: 1 },
    ] {
        let ahead = ConsistencyToken::from(ahead);
        let listed = tokio::time::timeout(PATIENCE, anna.list_orders(list(&ahead.to_string()))).await;
        let listed = listed.expect("a list waits for a moment only").unwrap();
        assert_eq!(listed.metadata().get(STALE).unwrap(), "true");
    }
    // Without a token nothing is promised, and nothing said.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let listed = anna.list_orders(proto::ListOrdersRequest::default()).await.unwrap();
    assert!(!listed.metadata().contains_key(STALE));
}

#[tokio::test]
async fn what_other_services_have_told_is_passed_over() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    let created = anna.create_order(placement(&[("tea", 2)])).await.unwrap();
    let own: ConsistencyToken = token(&created).parse().unwrap();
    let foreign: ConsistencyToken = WalPosition { system: 7, timeline: 1, lsn: 99 }.into();
    let listed = anna.list_orders(list(&foreign.to_string())).await.unwrap();
    assert!(!listed.metadata().contains_key(STALE), "it tells of no order");
    // A client that keeps one token of all its commands.
    let listed = anna.list_orders(list(&own.merge(foreign).to_string())).await.unwrap();
    let is_stale = listed.metadata().contains_key(STALE);
    assert!(is_stale || listed.get_ref().orders.contains(created.get_ref()), "{listed:?}");
    let ahead = EventsPlace { n: own.events.unwrap().n + 1_000_000, ..own.events.unwrap() };
    let listed = anna.list_orders(list(&foreign.merge(ahead.into()).to_string())).await.unwrap();
    assert!(listed.metadata().contains_key(STALE), "the place of events counts beside another part");
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_by_the_name_of_its_metadata() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    for bad in ["", "x", "====", "1.1", "MDEuMQ"] {
        assert_eq!(bad_fields(anna.list_orders(list(bad)).await), [TOKEN], "{bad}");
    }
}

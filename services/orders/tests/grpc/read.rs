//! Reading orders, lists of orders, and their events.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::meshwork::orders::v1::order_event::Event;
use meshwork_api::meshwork::orders::v1::{self as proto, Order, order};
use tonic::Code;

use crate::refusal::{bad_fields, because, reason, reason_of, refused};
use crate::shop::{Client, Shop, cancel, deliver, eventually, ship};

const BAD_NAMES: [&str; 6] = ["", "orders/", "orders/UPPER", "orders/a/b", "products/tea", "orders/-a"];

fn list(page_size: i32, page_token: &str, filter: &str) -> proto::ListOrdersRequest {
    proto::ListOrdersRequest { page_size, page_token: page_token.to_owned(), filter: filter.to_owned() }
}

fn events(parent: &str, page_size: i32, page_token: &str) -> proto::ListOrderEventsRequest {
    proto::ListOrderEventsRequest { parent: parent.to_owned(), page_size, page_token: page_token.to_owned() }
}

async fn listed(client: &mut Client, filter: &str) -> Vec<Order> {
    client.list_orders(list(0, "", filter)).await.unwrap().into_inner().orders
}

fn names(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.name.as_str()).collect()
}

/// Waits until lists show an order as it is.
async fn shown(shop: &Shop, order: &Order) {
    let seen = async || listed(&mut shop.staff(), "").await.contains(order);
    eventually(&format!("lists to show {}", order.name), seen).await;
}

#[tokio::test]
async fn names_that_are_none_are_refused() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    for name in BAD_NAMES {
        let get = proto::GetOrderRequest { name: name.to_owned(), ..Default::default() };
        assert_eq!(bad_fields(anna.get_order(get).await), ["name"], "{name}");
        assert_eq!(bad_fields(anna.list_order_events(events(name, 0, "")).await), ["parent"], "{name}");
    }
}

#[tokio::test]
async fn lists_show_the_newest_first_and_to_customers_only_their_own() {
    let shop = Shop::open().await;
    let first = shop.order("anna").await;
    let second = shop.order("bert").await;
    let third = shop.order("anna").await;
    for order in [&first, &second, &third] {
        shown(&shop, order).await;
    }
    assert_eq!(listed(&mut shop.staff(), "").await, [third.clone(), second.clone(), first.clone()]);
    assert_eq!(listed(&mut shop.customer("anna"), "").await, [third.clone(), first.clone()]);
    assert_eq!(listed(&mut shop.customer("bert"), "").await, [second]);
    assert_eq!(listed(&mut shop.customer("carl"), "").await, []);
    let of_anna = r#"customer = "users/anna""#;
    assert_eq!(listed(&mut shop.staff(), of_anna).await, [third.clone(), first.clone()]);
    assert_eq!(listed(&mut shop.customer("anna"), of_anna).await, [third, first]);
    let others = shop.customer("bert").list_orders(list(0, "", of_anna)).await;
    assert_eq!(reason_of(others), because(Code::PermissionDenied, "NOT_ALLOWED"));
}

#[tokio::test]
async fn lists_follow_each_state() {
    let shop = Shop::open().await;
    let pending = shop.order("anna").await;
    let confirmed = shop.confirmed("anna").await;
    let rejected = shop.order("bert").await.name;
    shop.inventory.rejects(&rejected).await;
    let rejected = shop.when(&rejected, order::State::Rejected).await;
    let shipped = shop.allocated("bert").await.name;
    let shipped = shop.staff().ship_order(ship(&shipped)).await.unwrap().into_inner();
    let delivered = shop.allocated("anna").await.name;
    shop.staff().ship_order(ship(&delivered)).await.unwrap();
    let delivered = shop.staff().deliver_order(deliver(&delivered)).await.unwrap().into_inner();
    let cancelled = shop.order("anna").await.name;
    let cancelled = shop.customer("anna").cancel_order(cancel(&cancelled)).await.unwrap().into_inner();
    let all = [
        ("PENDING", pending),
        ("CONFIRMED", confirmed),
        ("REJECTED", rejected),
        ("SHIPPED", shipped),
        ("DELIVERED", delivered),
        ("CANCELLED", cancelled),
    ];
    for (_, order) in &all {
        shown(&shop, order).await;
    }
    for (state, order) in all {
        let filter = format!("state = {state}");
        let both = format!(r#"{filter} AND customer = "{}""#, order.customer);
        let expected = [order];
        assert_eq!(listed(&mut shop.staff(), &filter).await, expected, "{state}");
        // D8: as every answer spells it.
        let spelled = format!("state = STATE_{state}");
        assert_eq!(listed(&mut shop.staff(), &spelled).await, expected, "{state}");
        assert_eq!(listed(&mut shop.staff(), &both).await, expected, "{state}");
        let neither = format!(r#"customer = "users/carl" AND {filter}"#);
        assert_eq!(listed(&mut shop.staff(), &neither).await, [], "{state}");
    }
}

#[tokio::test]
async fn pages_have_no_gap_and_no_repeat_while_orders_are_added_and_change() {
    let shop = Shop::open().await;
    let mut there = BTreeSet::new();
    for _ in 0..7 {
        let order = shop.order("anna").await;
        shown(&shop, &order).await;
        there.insert(order.name);
    }
    let mut anna = shop.customer("anna");
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = anna.list_orders(list(2, &token, "")).await.unwrap().into_inner();
        assert!((1..=2).contains(&page.orders.len()));
        seen.extend(page.orders.into_iter().map(|order| order.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let added = shop.order("anna").await;
        shown(&shop, &added).await;
        let changed = anna.cancel_order(cancel(seen.last().unwrap())).await.unwrap().into_inner();
        shown(&shop, &changed).await;
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), there);
}

#[tokio::test]
async fn page_sizes_are_bounded() {
    let shop = Shop::open().await;
    let mut anna = shop.customer("anna");
    let mut last = None;
    for _ in 0..51 {
        last = Some(shop.order("anna").await);
    }
    eventually("all orders to be listed", async || {
        let mut anna = shop.customer("anna");
        anna.list_orders(list(200, "", "")).await.unwrap().into_inner().orders.len() == 51
    })
    .await;
    let page = anna.list_orders(list(0, "", "")).await.unwrap().into_inner();
    assert_eq!((page.orders.len(), page.orders.first()), (50, last.as_ref()));
    let rest = anna.list_orders(list(0, &page.next_page_token, "")).await.unwrap().into_inner();
    assert_eq!((rest.orders.len(), rest.next_page_token.as_str()), (1, ""));
    let whole = anna.list_orders(list(i32::MAX, "", "")).await.unwrap().into_inner();
    assert_eq!((whole.orders.len(), whole.next_page_token.as_str()), (51, ""));
}

/// A token of the form that lists give, for the query of `like`, with another cursor.
fn forged(like: &str, cursor: &str) -> String {
    let mut token: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(like).unwrap()).unwrap();
    token["c"] = cursor.into();
    URL_SAFE_NO_PAD.encode(token.to_string())
}

#[tokio::test]
async fn bad_pages_are_refused() {
    let shop = Shop::open().await;
    for _ in 0..3 {
        let order = shop.confirmed("anna").await;
        shown(&shop, &order).await;
    }
    let mut anna = shop.customer("anna");
    let page = anna.list_orders(list(1, "", "")).await.unwrap().into_inner();
    let (token, name) = (page.next_page_token, page.orders[0].name.clone());
    let of_events = anna.list_order_events(events(&name, 1, "")).await.unwrap().into_inner().next_page_token;
    assert_eq!(bad_fields(anna.list_orders(list(-1, "", "")).await), ["page_size"]);
    assert_eq!(bad_fields(anna.list_order_events(events(&name, -1, "")).await), ["page_size"]);
    for bad in ["x", "====", &of_events, &forged(&token, "here"), &forged(&token, "1/2/3"), &forged(&token, "")] {
        assert_eq!(bad_fields(anna.list_orders(list(1, bad, "")).await), ["page_token"], "{bad}");
    }
    assert_eq!(bad_fields(anna.list_orders(list(1, &token, "state = CONFIRMED")).await), ["page_token"]);
    for bad in ["x", &token, &forged(&of_events, "here"), &forged(&of_events, ""), &forged(&of_events, "-1")] {
        assert_eq!(bad_fields(anna.list_order_events(events(&name, 1, bad)).await), ["page_token"], "{bad}");
    }
    let another = anna.list_orders(list(1, &token, "")).await.unwrap().into_inner().orders[0].name.clone();
    assert_eq!(bad_fields(anna.list_order_events(events(&another, 1, &of_events)).await), ["page_token"]);
    let both = anna.list_orders(list(-1, "x", "state = LOST")).await;
    assert_eq!(bad_fields(both), ["filter", "page_size", "page_token"]);
}

#[tokio::test]
async fn bad_filters_are_refused() {
    let shop = Shop::open().await;
    let mut staff = shop.staff();
    let filters = [
        "state",
        "state =",
        "= PENDING",
        "state = LOST",
        "state = pending",
        "state = STATE_UNSPECIFIED",
        "state = PENDING OR state = SHIPPED",
        "state = PENDING state = SHIPPED",
        "state = PENDING AND state = SHIPPED",
        "state = PENDING AND",
        "total = 3",
        "customer = anna",
        r#"customer = "users/anna"#,
        r#"customer = "orders/anna""#,
    ];
    for filter in filters {
        assert_eq!(bad_fields(staff.list_orders(list(0, "", filter)).await), ["filter"], "{filter}");
    }
}

#[tokio::test]
async fn the_events_of_an_order_are_listed_oldest_first_in_pages() {
    let shop = Shop::open().await;
    let order = shop.allocated("anna").await;
    let mut anna = shop.customer("anna");
    let whole = anna.list_order_events(events(&order.name, 0, "")).await.unwrap().into_inner();
    assert_eq!(whole.next_page_token, "");
    let names: Vec<_> = whole.order_events.iter().map(|event| event.name.clone()).collect();
    assert_eq!(names, [1, 2, 3].map(|version| format!("{}/events/{version}", order.name)));
    let happened: Vec<_> = whole.order_events.iter().map(|event| event.event.clone().unwrap()).collect();
    let [Event::OrderCreated(created), Event::OrderConfirmed(confirmed), Event::OrderAllocated(allocated)] =
        happened.as_slice()
    else {
        panic!("{happened:?}")
    };
    assert_eq!((&created.order, &created.customer, &created.total), (&order.name, &order.customer, &order.total));
    assert_eq!((&confirmed.order, &confirmed.total), (&order.name, &order.total));
    assert_eq!(allocated.order, order.name);
    assert_eq!(whole.order_events[0].create_time, order.create_time);
    assert_eq!(whole.order_events[2].create_time, order.allocate_time);

    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = anna.list_order_events(events(&order.name, 1, &token)).await.unwrap().into_inner();
        assert_eq!(page.order_events.len(), 1);
        paged.extend(page.order_events);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, whole.order_events);
}

#[tokio::test]
async fn an_order_that_can_not_be_read_says_so_and_the_others_go_on() {
    let shop = Shop::open().await;
    let (damaged, sound) = (shop.order("anna").await.name, shop.order("anna").await);
    shop.damage(&damaged).await;
    let mut anna = shop.customer("anna");
    let lost = because(Code::DataLoss, "STORE_DAMAGED");
    let status = refused(anna.get_order(proto::GetOrderRequest { name: damaged.clone(), ..Default::default() }).await);
    assert_eq!(reason(&status), lost);
    assert!(!status.message().contains("order_confirmed"), "the cause is the log's affair: {status:?}");
    assert_eq!(reason_of(anna.list_order_events(events(&damaged, 0, "")).await), lost);
    assert_eq!(reason_of(anna.cancel_order(cancel(&damaged)).await), lost);
    let watch = proto::WatchOrderRequest { name: damaged, ..Default::default() };
    assert_eq!(reason_of(anna.watch_order(watch).await), lost);
    let cancelled = anna.cancel_order(cancel(&sound.name)).await.unwrap().into_inner();
    shown(&shop, &cancelled).await;
}

#[tokio::test]
async fn lists_stand_after_a_restart() {
    let mut shop = Shop::open().await;
    let order = shop.confirmed("anna").await;
    shown(&shop, &order).await;
    shop.restart().await;
    assert_eq!(names(&listed(&mut shop.customer("anna"), "state = CONFIRMED").await), [order.name.as_str()]);
    let next = shop.order("anna").await;
    shown(&shop, &next).await;
}

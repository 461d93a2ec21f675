//! Orders as they were.

use meshwork_api::meshwork::orders::v1::{self as proto, Order, order};
use prost_types::Timestamp;
use tonic::Code;

use crate::refusal::{bad_fields, because, reason_of};
use crate::shop::{Client, Shop, cancel, deliver, ship};

fn at_version(name: &str, version: i64) -> proto::GetOrderRequest {
    proto::GetOrderRequest { name: name.to_owned(), version, read_time: None }
}

fn at_time(name: &str, read_time: Timestamp) -> proto::GetOrderRequest {
    proto::GetOrderRequest { name: name.to_owned(), version: 0, read_time: Some(read_time) }
}

/// A microsecond, the least that times differ by, before another time.
fn before(time: Timestamp) -> Timestamp {
    let nanos = i64::from(time.nanos) - 1000;
    let seconds = time.seconds + nanos.div_euclid(1_000_000_000);
    Timestamp { seconds, nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap() }
}

async fn get(client: &mut Client, request: proto::GetOrderRequest) -> Order {
    client.get_order(request).await.unwrap().into_inner()
}

/// A delivered order, and what a watch told of it after each event.
async fn story(shop: &Shop) -> (String, Vec<Order>) {
    let name = shop.allocated("anna").await.name;
    shop.staff().ship_order(ship(&name)).await.unwrap();
    shop.staff().deliver_order(deliver(&name)).await.unwrap();
    let request = proto::WatchOrderRequest { name: name.clone(), ..Default::default() };
    let mut watch = shop.staff().watch_order(request).await.unwrap().into_inner();
    let mut orders = Vec::new();
    while let Some(response) = watch.message().await.unwrap() {
        orders.push(response.order.unwrap());
    }
    assert_eq!(orders.len(), 5);
    (name, orders)
}

#[tokio::test]
async fn an_order_is_told_as_it_was_at_each_version() {
    let shop = Shop::open().await;
    let (name, orders) = story(&shop).await;
    let mut anna = shop.customer("anna");
    for (version, order) in (1..).zip(&orders) {
        assert_eq!(get(&mut anna, at_version(&name, version)).await, *order, "version {version}");
    }
    assert_eq!(get(&mut anna, at_version(&name, 0)).await, orders[4]);
    for version in [-1, i64::MIN, 6, i64::MAX] {
        assert_eq!(bad_fields(anna.get_order(at_version(&name, version)).await), ["version"], "{version}");
    }
}

#[tokio::test]
async fn an_order_is_told_as_it_was_at_each_time() {
    let shop = Shop::open().await;
    let (name, orders) = story(&shop).await;
    let mut anna = shop.customer("anna");
    for (at, order) in orders.iter().enumerate() {
        let time = order.update_time.unwrap();
        // Two events may share a microsecond; then the later one counts.
        let last = orders.iter().rfind(|order| order.update_time == Some(time)).unwrap();
        assert_eq!(get(&mut anna, at_time(&name, time)).await, *last, "after event {}", at + 1);
        if at > 0 && orders[at - 1].update_time != Some(time) {
            assert_eq!(get(&mut anna, at_time(&name, before(time))).await, orders[at - 1]);
        }
    }
    let some_day = Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 };
    assert_eq!(get(&mut anna, at_time(&name, some_day)).await, orders[4]);
    let unborn = before(orders[0].create_time.unwrap());
    for client in [&mut anna, &mut shop.staff()] {
        let answer = client.get_order(at_time(&name, unborn)).await;
        assert_eq!(reason_of(answer), because(Code::NotFound, "ORDER_NOT_FOUND"));
    }
}

#[tokio::test]
async fn times_that_are_none_are_refused() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    let mut anna = shop.customer("anna");
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0), (253_402_300_800, 0)] {
        let answer = anna.get_order(at_time(&name, Timestamp { seconds, nanos })).await;
        assert_eq!(bad_fields(answer), ["read_time"], "{seconds} {nanos}");
    }
    let both = proto::GetOrderRequest { version: 1, ..at_time(&name, Timestamp { seconds: 1, nanos: 0 }) };
    assert_eq!(bad_fields(anna.get_order(both).await), ["read_time"]);
    let all = proto::GetOrderRequest { version: -1, ..at_time("order", Timestamp { seconds: 1, nanos: -1 }) };
    assert_eq!(bad_fields(anna.get_order(all).await), ["name", "version", "read_time", "read_time"]);
}

#[tokio::test]
async fn the_past_of_an_order_is_its_owners_too() {
    let shop = Shop::open().await;
    let order = shop.order("anna").await;
    shop.customer("anna").cancel_order(cancel(&order.name)).await.unwrap();
    let mut bert = shop.customer("bert");
    let past = order.create_time.unwrap();
    for request in [at_version(&order.name, 1), at_version(&order.name, 9), at_time(&order.name, past)] {
        assert_eq!(reason_of(bert.get_order(request).await), because(Code::PermissionDenied, "NOT_ALLOWED"));
    }
    let seen = get(&mut shop.staff(), at_version(&order.name, 1)).await;
    assert_eq!((seen.state(), &seen), (order::State::Pending, &order));
}

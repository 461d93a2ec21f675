//! Watching orders.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::meshwork::orders::v1::{self as proto, WatchOrderResponse, order};
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};

use crate::refusal::{bad_fields, because, reason};
use crate::shop::{Client, PATIENCE, Shop, cancel, deliver, ship};

fn watch(name: &str, resume_token: &str) -> proto::WatchOrderRequest {
    proto::WatchOrderRequest { name: name.to_owned(), resume_token: resume_token.to_owned() }
}

/// A watch from where a token points.
pub async fn begin(client: &mut Client, name: &str, resume_token: &str) -> Streaming<WatchOrderResponse> {
    client.watch_order(watch(name, resume_token)).await.unwrap().into_inner()
}

/// The next response, or the end.
pub async fn next(stream: &mut Streaming<WatchOrderResponse>) -> Result<Option<WatchOrderResponse>, Status> {
    tokio::time::timeout(PATIENCE, stream.message()).await.expect("the watch to go on")
}

/// Everything up to the end of the watch.
async fn rest(mut stream: Streaming<WatchOrderResponse>) -> Vec<WatchOrderResponse> {
    let mut responses = Vec::new();
    while let Some(response) = next(&mut stream).await.unwrap() {
        responses.push(response);
    }
    responses
}

/// The version that a response tells of.
fn version(response: &WatchOrderResponse) -> i64 {
    let name = &response.order_event.as_ref().unwrap().name;
    name.rsplit_once('/').unwrap().1.parse().unwrap()
}

/// An order that was delivered, and what a watch tells of it.
async fn delivered(shop: &Shop) -> (String, Vec<WatchOrderResponse>) {
    let name = shop.allocated("anna").await.name;
    shop.staff().ship_order(ship(&name)).await.unwrap();
    shop.staff().deliver_order(deliver(&name)).await.unwrap();
    let whole = rest(begin(&mut shop.customer("anna"), &name, "").await).await;
    (name, whole)
}

#[tokio::test]
async fn a_watch_tells_the_whole_history_and_ends_when_nothing_can_happen_any_more() {
    let shop = Shop::open().await;
    let (name, whole) = delivered(&shop).await;
    assert_eq!(whole.iter().map(version).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let states: Vec<_> = whole.iter().map(|response| response.order.as_ref().unwrap().state()).collect();
    use order::State::{Confirmed, Delivered, Pending, Shipped};
    assert_eq!(states, [Pending, Confirmed, Confirmed, Shipped, Delivered]);
    assert_eq!(whole[4].order, Some(shop.get(&name).await));
    let request = proto::ListOrderEventsRequest { parent: name, ..Default::default() };
    let listed = shop.customer("anna").list_order_events(request).await.unwrap().into_inner().order_events;
    let watched: Vec<_> = whole.into_iter().map(|response| response.order_event.unwrap()).collect();
    assert_eq!(watched, listed);
}

#[tokio::test]
async fn every_end_of_an_order_ends_its_watch() {
    let shop = Shop::open().await;
    let (rejected, cancelled) = (shop.order("anna").await.name, shop.order("anna").await.name);
    let mut anna = shop.customer("anna");
    let watches = [begin(&mut anna, &rejected, "").await, begin(&mut anna, &cancelled, "").await];
    shop.inventory.rejects(&rejected).await;
    anna.cancel_order(cancel(&cancelled)).await.unwrap();
    for (watch, state) in watches.into_iter().zip([order::State::Rejected, order::State::Cancelled]) {
        let responses = rest(watch).await;
        assert_eq!(responses.iter().map(version).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(responses[1].order.as_ref().unwrap().state(), state);
    }
}

#[tokio::test]
async fn a_watch_goes_on_from_each_token_without_gap_or_repeat() {
    let shop = Shop::open().await;
    let (name, whole) = delivered(&shop).await;
    for (at, response) in whole.iter().enumerate() {
        let resumed = rest(begin(&mut shop.customer("anna"), &name, &response.resume_token).await).await;
        assert_eq!(resumed, whole[at + 1..], "after version {}", at + 1);
    }
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart() {
    let mut shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    let mut first = begin(&mut shop.customer("anna"), &name, "").await;
    shop.inventory.reserves(&name).await;
    let created = next(&mut first).await.unwrap().unwrap();
    let confirmed = next(&mut first).await.unwrap().unwrap();
    shop.restart().await;
    let status = next(&mut first).await.unwrap_err();
    assert_eq!(reason(&status), because(Code::Unavailable, "SERVER_STOPPING"));

    let mut second = begin(&mut shop.customer("anna"), &name, &confirmed.resume_token).await;
    shop.inventory.allocates(&name).await;
    let allocated = next(&mut second).await.unwrap().unwrap();
    shop.customer("anna").cancel_order(cancel(&name)).await.unwrap();
    let cancelled = next(&mut second).await.unwrap().unwrap();
    assert_eq!(next(&mut second).await.unwrap(), None);
    let seen = [created, confirmed, allocated, cancelled];
    assert_eq!(seen.iter().map(version).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(rest(begin(&mut shop.customer("anna"), &name, "").await).await, seen);
}

#[tokio::test]
async fn fifty_watchers_all_see_every_event() {
    let shop = Shop::open().await;
    let name = shop.order("anna").await.name;
    let mut watchers = JoinSet::new();
    let mut anna = shop.customer("anna");
    for _ in 0..50 {
        let stream = begin(&mut anna, &name, "").await;
        watchers.spawn(rest(stream));
    }
    shop.inventory.reserves(&name).await;
    shop.inventory.allocates(&name).await;
    shop.inventory.was_heard().await;
    shop.staff().ship_order(ship(&name)).await.unwrap();
    shop.staff().deliver_order(deliver(&name)).await.unwrap();
    let all = watchers.join_all().await;
    assert_eq!(all.len(), 50);
    for seen in &all {
        assert_eq!(seen.iter().map(version).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(*seen, all[0]);
    }
}

#[tokio::test]
async fn bad_watches_are_refused() {
    let shop = Shop::open().await;
    let (first, second) = (shop.order("anna").await.name, shop.order("anna").await.name);
    let mut anna = shop.customer("anna");
    let of_second = next(&mut begin(&mut anna, &second, "").await).await.unwrap().unwrap().resume_token;
    let id = first.strip_prefix("orders/").unwrap();
    let forged = |text: String| URL_SAFE_NO_PAD.encode(text);
    let tokens = [
        "x".to_owned(),
        "====".to_owned(),
        of_second,
        forged(id.to_owned()),
        forged(format!("{id}@")),
        forged(format!("{id}@0")),
        forged(format!("{id}@-1")),
        forged(format!("{id}@one")),
        forged(format!("{id}@2")),
        forged(format!("{id}@{}", i64::MAX)),
    ];
    for token in tokens {
        assert_eq!(bad_fields(anna.watch_order(watch(&first, &token)).await), ["resume_token"], "{token}");
    }
    for name in ["", "orders/", "users/anna"] {
        assert_eq!(bad_fields(anna.watch_order(watch(name, "")).await), ["name"], "{name}");
    }
    assert_eq!(bad_fields(anna.watch_order(watch("order", "!")).await), ["name", "resume_token"]);
}

//! Requests in good form whose content is unusual: the ends of number ranges, forged tokens of pages and streams, and many
//! calls at once about one thing. No service may answer them in a way that speaks against itself.

use std::time::Duration;

use meshwork_api::meshwork::orders::v1::{
    CancelOrderRequest, CreateOrderRequest, GetOrderRequest, ListOrderEventsRequest, ListOrdersRequest,
    ListOrdersResponse, Order, WatchOrderRequest, order,
};
use meshwork_api::meshwork::products::v1::{BatchGetProductsRequest, ListProductsRequest, ListProductsResponse};
use meshwork_api::meshwork::users::v1::{CreateUserRequest, UpdateUserRequest, User};
use prost::Message;
use prost_types::{FieldMask, Timestamp};
use tokio::task::JoinSet;
use tonic::Code;

use super::oversized::{Call, in_turn};
use super::wire::{Wire, framed, head_of, message, set};
use super::world::{Account, Scene, an_order_of, method};

/// Numbers, times and enum values from the ends of their ranges.
pub(crate) async fn extremes(scene: Scene) {
    let account = scene.world.account();
    let product = &scene.world.products[0];
    let mut calls = Vec::new();
    let mut call = |path, body| calls.push(Call { head: head_of(path, Some(&account.token), None), body });
    for extreme in [i64::MIN, -1, 0, i64::MAX] {
        let name = account.order.clone();
        call(method::GET_ORDER, framed(&GetOrderRequest { name: name.clone(), version: extreme, read_time: None }));
        for nanos in [i32::MIN, 0, i32::MAX] {
            let read_time = Some(Timestamp { seconds: extreme, nanos });
            call(method::GET_ORDER, framed(&GetOrderRequest { name: name.clone(), version: 0, read_time }));
        }
        let line = order::Line { product: product.clone(), quantity: extreme, ..order::Line::default() };
        let order = Order { lines: vec![line; 2], ..Order::default() };
        call(method::CREATE_ORDER, framed(&CreateOrderRequest { order: Some(order), ..Default::default() }));
        let etag = format!("\"v{extreme}\"");
        call(method::CANCEL_ORDER, framed(&CancelOrderRequest { name: name.clone(), etag, ..Default::default() }));
        let id = name.trim_start_matches("orders/");
        let resume_token = base64(format!("{id}@{extreme}").as_bytes());
        call(method::WATCH_ORDER, framed(&WatchOrderRequest { name, resume_token }));
    }
    for extreme in [i32::MIN, -1, i32::MAX] {
        call(method::LIST_ORDERS, framed(&ListOrdersRequest { page_size: extreme, ..Default::default() }));
        call(method::LIST_PRODUCTS, framed(&ListProductsRequest { page_size: extreme, ..Default::default() }));
        let user = User { role: extreme, email: "a@example.com".to_owned(), ..User::default() };
        call(method::CREATE_USER, framed(&CreateUserRequest { user: Some(user), ..Default::default() }));
    }
    call(method::BATCH_GET, framed(&BatchGetProductsRequest { names: vec![product.clone(); 100] }));
    call(method::CREATE_ORDER, framed(&CreateOrderRequest::default()));
    let paths = vec!["*".to_owned(), String::new(), "display_name.x".to_owned()];
    let request = UpdateUserRequest { update_mask: Some(FieldMask { paths }), ..UpdateUserRequest::default() };
    call(method::UPDATE_USER, framed(&request));
    for place in ["0.1", "65535.9223372036854775807", "65536.1", "0.-1", "."] {
        let mut head = head_of(method::LIST_ORDERS, Some(&account.token), None);
        set(&mut head, "meshwork-consistency-token", &base64(place.as_bytes()));
        calls.push(Call { head, body: framed(&ListOrdersRequest::default()) });
    }
    in_turn(&scene, 6, Duration::from_millis(25), calls).await;
}

/// Page tokens that carry the right fingerprint and another place.
pub(crate) async fn forged_pages(scene: Scene) {
    let account = scene.world.account();
    let from = scene.world.address();
    let Some(wire) = scene.wire(from).await else { return };
    let mut calls = Vec::new();
    for place in
        ["", "\0", ":", "a:b", "1:\0", "9223372036854775807:x", "-9223372036854775808:", "-1", "99999999999999999999"]
            .map(str::to_owned)
            .into_iter()
            .chain(["9".repeat(5000), format!("1:{}", "x".repeat(20_000))])
    {
        let token = Some(account.token.as_str());
        let first = ListProductsRequest { page_size: 1, ..ListProductsRequest::default() };
        if let Some(page) = ask::<ListProductsResponse>(&wire, method::LIST_PRODUCTS, None, &first).await {
            let request = ListProductsRequest { page_token: forged(&page.next_page_token, &place), ..first };
            calls.push(Call { head: head_of(method::LIST_PRODUCTS, None, None), body: framed(&request) });
        }
        let first = ListOrdersRequest { page_size: 1, ..ListOrdersRequest::default() };
        ask::<Order>(&wire, method::CREATE_ORDER, token, &an_order_of(&scene.world.products[0])).await;
        if let Some(page) = ask::<ListOrdersResponse>(&wire, method::LIST_ORDERS, token, &first).await {
            let request = ListOrdersRequest { page_token: forged(&page.next_page_token, &place), ..first };
            calls.push(Call { head: head_of(method::LIST_ORDERS, token, None), body: framed(&request) });
        }
        let first = ListOrderEventsRequest { parent: account.order.clone(), page_size: 1, ..Default::default() };
        let page: Option<meshwork_api::meshwork::orders::v1::ListOrderEventsResponse> =
            ask(&wire, method::LIST_EVENTS, token, &first).await;
        if let Some(page) = page {
            let request = ListOrderEventsRequest { page_token: forged(&page.next_page_token, &place), ..first };
            calls.push(Call { head: head_of(method::LIST_EVENTS, token, None), body: framed(&request) });
        }
    }
    if !calls.is_empty() {
        in_turn(&scene, 6, Duration::from_millis(25), calls).await;
    }
}

/// Many calls at once that want the same: one order, one request id, one address of mail, one account.
pub(crate) async fn collisions(scene: Scene) {
    while scene.lasts() {
        let account = scene.world.account();
        let Some(wire) = scene.wire(scene.world.address()).await else { continue };
        let create = an_order_of(&scene.world.products[0]);
        let request_id = uuid::Uuid::new_v4().to_string();
        let order_id = uuid::Uuid::new_v4().to_string();
        let mut calls = JoinSet::new();
        for at in 0..15 {
            let mut spawn = |path, body| {
                let (scene, wire, token) = (scene.clone(), wire.clone(), account.token.clone());
                calls.spawn(async move {
                    let outcome = wire.call_with(head_of(path, Some(&token), None), body).await;
                    scene.tally.answer(&outcome);
                });
            };
            spawn(method::CREATE_ORDER, framed(&create));
            let other = CreateOrderRequest { order_id: order_id.clone(), request_id: String::new(), ..create.clone() };
            spawn(method::CREATE_ORDER, framed(&other));
            let reason = format!("reason {at}");
            let cancel = CancelOrderRequest {
                name: account.order.clone(),
                reason,
                request_id: request_id.clone(),
                ..Default::default()
            };
            spawn(method::CANCEL_ORDER, framed(&cancel));
            spawn(method::UPDATE_USER, framed(&renamed(&account, at)));
            if at < 4 {
                let user = User {
                    email: format!("{request_id}@example.com"),
                    display_name: "Twice".to_owned(),
                    password: super::world::PASSWORD.to_owned(),
                    ..User::default()
                };
                let request =
                    CreateUserRequest { user: Some(user), request_id: request_id.clone(), ..Default::default() };
                spawn(method::CREATE_USER, framed(&request));
            }
        }
        while scene.within(calls.join_next()).await.flatten().is_some() {}
    }
}

fn renamed(account: &Account, at: usize) -> UpdateUserRequest {
    let user = User { name: account.name.clone(), display_name: format!("Name {at}"), ..User::default() };
    UpdateUserRequest { user: Some(user), ..UpdateUserRequest::default() }
}

/// The answer to a call, if it is one.
async fn ask<A: Message + Default>(wire: &Wire, path: &str, token: Option<&str>, request: &impl Message) -> Option<A> {
    let answer = wire.call(head_of(path, token, None), request).await.ok()?;
    (answer.code == Code::Ok).then(|| message(&answer))
}

/// A page token with another place in it. When there is no token to forge, it is one that is none.
fn forged(token: &str, place: &str) -> String {
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&unbase64(token)) else { return "none".to_owned() };
    json["c"] = place.into();
    base64(json.to_string().as_bytes())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for URLs, without padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

/// What [`base64`] was made of; characters that aren't of it are left out.
fn unbase64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for value in text.bytes().filter_map(|byte| ALPHABET.iter().position(|letter| *letter == byte)) {
        bits = (bits << 6) | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 255).unwrap());
        }
    }
    bytes
}

#[test]
fn base64_is_that_of_urls() {
    for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("~~~?", "fn5-Pw")]
    {
        assert_eq!(base64(bytes.as_bytes()), text);
        assert_eq!(unbase64(text), bytes.as_bytes());
    }
}

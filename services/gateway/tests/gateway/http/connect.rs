//! Unary calls of Connect through the gateway, over HTTP/1.1.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
use flate2::Compression;
use flate2::write::GzEncoder;
use meshwork_api::meshwork::orders::v1::{GetOrderRequest, Order};
use prost::Message;
use tonic_types::pb::ErrorInfo;

use super::client::{Answer, ask, ask_as_anna, send};
use crate::world::{World, eventually};

const GET: &str = "POST /meshwork.orders.v1.OrderService/GetOrder";
const BY_GET: &str = "GET /meshwork.orders.v1.OrderService/GetOrder?connect=v1";
const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");

fn get(name: &str) -> Vec<u8> {
    GetOrderRequest { name: name.to_owned(), ..Default::default() }.encode_to_vec()
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn assert_is_order(answer: &Answer) {
    assert_eq!((answer.status, answer.header("x-answer")), (200, "yes"), "{answer:?}");
    match answer.header("content-type") {
        "application/json" => assert_eq!(answer.json()["name"], "orders/a"),
        "application/proto" => assert_eq!(Order::decode(answer.body.as_slice()).unwrap().name, "orders/a"),
        other => panic!("{other}"),
    }
}

#[track_caller]
fn assert_failed(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{answer:?}");
    assert_eq!(answer.json()["code"], code);
}

#[tokio::test]
async fn a_call_is_made_with_json_with_protobuf_and_by_get() {
    let world = World::start().await;
    let json = br#"{"name":"orders/a","added":"later"}"#;
    let headers = [JSON, ("connect-protocol-version", "1"), ("x-asked", "why")];
    assert_is_order(&ask_as_anna(&world, GET, &headers, json).await);
    let seen = world.orders.orders.seen.lock().unwrap().pop().unwrap();
    assert_eq!(seen.get("x-asked").unwrap(), "why");
    assert!(seen.get("connect-protocol-version").is_none());
    assert_is_order(&ask_as_anna(&world, GET, &[PROTO], &get("orders/a")).await);
    for (content_type, plain) in [(JSON, json.to_vec()), (PROTO, get("orders/a"))] {
        let headers = [content_type, ("content-encoding", "gzip")];
        assert_is_order(&ask_as_anna(&world, GET, &headers, &packed(&plain)).await);
    }
    let message = URL_SAFE.encode(get("orders/a"));
    for query in [
        "&encoding=json&message=%7B%22name%22%3A%22orders%2Fa%22%7D".to_owned(),
        format!("&encoding=proto&base64=1&message={message}"),
        format!("&encoding=proto&base64=1&message={}", message.trim_end_matches('=')),
        format!("&encoding=proto&base64=1&compression=gzip&message={}", URL_SAFE.encode(packed(&get("orders/a")))),
    ] {
        assert_is_order(&ask_as_anna(&world, &format!("{BY_GET}{query}"), &[], &[]).await);
    }
}

#[tokio::test]
async fn an_error_is_json_with_a_status_of_http() {
    let world = World::start().await;
    let refused = ask_as_anna(&world, GET, &[JSON], br#"{"name":"orders/refused"}"#).await;
    assert_failed(&refused, 400, "failed_precondition");
    assert_eq!(refused.json()["message"], "no – really");
    assert_eq!(refused.header("x-trailer"), "told");
    let unknown = ask(&world, GET, &[JSON], b"{}").await;
    assert_failed(&unknown, 401, "unauthenticated");
    assert_eq!(unknown.header("www-authenticate"), "Bearer");
    let create = "POST /meshwork.products.v1.ProductService/CreateProduct";
    assert_failed(&ask_as_anna(&world, create, &[PROTO], b"").await, 403, "permission_denied");
    let list = "POST /meshwork.products.v1.ProductService/ListProducts";
    assert_failed(&ask(&world, list, &[JSON], b"{}").await, 503, "unavailable");

    for path in ["/no.such.Service/Method", "/meshwork.admin.v1.EventSourceService/ReadStream"] {
        let unknown = ask_as_anna(&world, &format!("POST {path}"), &[JSON], b"{}").await;
        assert_failed(&unknown, 404, "unimplemented");
        let detail = &unknown.json()["details"][0];
        assert_eq!(detail["type"], "google.rpc.ErrorInfo");
        let info = STANDARD_NO_PAD.decode(detail["value"].as_str().unwrap()).unwrap();
        let info = ErrorInfo::decode(info.as_slice()).unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["path"].as_str()), ("METHOD_UNKNOWN", path));
    }
}

#[tokio::test]
async fn a_request_that_is_not_one_is_refused_and_reaches_nobody() {
    let world = World::start().await;
    let before = world.orders.calls();
    for (headers, body) in [
        (&[JSON][..], "{"),
        (&[JSON], ""),
        (&[JSON], r#"{"name":7}"#),
        (&[JSON, ("connect-timeout-ms", "soon")], "{}"),
        (&[JSON, ("connect-protocol-version", "2")], "{}"),
        (&[JSON, ("content-encoding", "gzip")], "{}"),
    ] {
        assert_failed(&ask_as_anna(&world, GET, headers, body.as_bytes()).await, 400, "invalid_argument");
    }
    let packed_so = ask_as_anna(&world, GET, &[JSON, ("content-encoding", "br")], b"{}").await;
    assert_failed(&packed_so, 501, "unimplemented");
    assert_eq!(packed_so.header("accept-encoding"), "gzip");
    for query in ["", "&encoding=json", "&encoding=json&message=%7B", "&encoding=proto&base64=1&message=%21"] {
        let answer = ask_as_anna(&world, &format!("{BY_GET}{query}"), &[], &[]).await;
        assert_failed(&answer, 400, "invalid_argument");
    }
    for media_type in ["text/plain", "application/connect+json", "application/xml"] {
        let answer = ask_as_anna(&world, GET, &[("content-type", media_type)], b"{}").await;
        let told = (answer.status, answer.header("accept-post"));
        assert_eq!(told, (415, "application/proto, application/json"), "{media_type}");
    }
    let unknown_codec = ask_as_anna(&world, &format!("{BY_GET}&encoding=xml&message="), &[], &[]).await;
    assert_eq!(unknown_codec.status, 415);
    for (start, allowed) in [
        ("GET /meshwork.orders.v1.OrderService/CreateOrder?connect=v1&encoding=json&message=%7B%7D", "POST"),
        ("GET /meshwork.orders.v1.OrderService/WatchOrder?connect=v1&encoding=json&message=%7B%7D", "POST"),
        ("DELETE /meshwork.orders.v1.OrderService/GetOrder", "GET, POST"),
    ] {
        let answer = ask_as_anna(&world, start, &[], &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{start}");
    }
    assert_eq!(world.orders.calls(), before);
}

#[tokio::test]
async fn a_bomb_is_refused_before_it_is_unpacked() {
    let world = World::start().await;
    let before = world.orders.calls();
    let bomb = packed(&vec![b' '; 64 << 20]);
    for content_type in [JSON, PROTO] {
        let headers = [content_type, ("content-encoding", "gzip")];
        let answer = ask_as_anna(&world, GET, &headers, &bomb).await;
        assert_failed(&answer, 429, "resource_exhausted");
    }
    // One that fits into a query is unpacked for those who may call, and for nobody else.
    let bomb = URL_SAFE.encode(packed(&vec![b' '; 5 << 20]));
    let by_get = format!("{BY_GET}&encoding=json&base64=1&compression=gzip&message={bomb}");
    assert_failed(&ask(&world, &by_get, &[], &[]).await, 401, "unauthenticated");
    assert_failed(&ask_as_anna(&world, &by_get, &[], &[]).await, 429, "resource_exhausted");
    assert_eq!(world.orders.calls(), before);
}

#[tokio::test]
async fn a_timeout_ends_a_call_and_so_does_a_client_that_goes() {
    let world = World::start().await;
    let held = br#"{"name":"orders/held"}"#;
    let late = ask_as_anna(&world, GET, &[JSON, ("connect-timeout-ms", "100")], held).await;
    assert_failed(&late, 504, "deadline_exceeded");
    let waiting = || world.orders.orders.released.receiver_count();
    eventually(async || (waiting() == 0).then_some(())).await;

    let token = format!("Bearer {}", world.issuer.token("anna", "customer"));
    let connection = send(&world, GET, &[JSON, ("authorization", &token)], held).await;
    eventually(async || (waiting() == 1).then_some(())).await;
    drop(connection);
    eventually(async || (waiting() == 0).then_some(())).await;
}

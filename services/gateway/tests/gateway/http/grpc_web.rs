//! gRPC-Web through the gateway, over HTTP/1.1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshwork_api::meshwork::orders::v1::{GetOrderRequest, Order, WatchOrderRequest, WatchOrderResponse};
use prost::Message;

use super::client::{Answer, ask, ask_as_anna, messages, prefixed};
use crate::world::World;

const GET: &str = "POST /meshwork.orders.v1.OrderService/GetOrder";
const WATCH: &str = "POST /meshwork.orders.v1.OrderService/WatchOrder";
const BINARY: (&str, &str) = ("content-type", "application/grpc-web+proto");
const TEXT: (&str, &str) = ("content-type", "application/grpc-web-text+proto");

fn get(name: &str) -> Vec<u8> {
    prefixed(0, &GetOrderRequest { name: name.to_owned(), ..Default::default() }.encode_to_vec())
}

fn watch(name: &str) -> Vec<u8> {
    prefixed(0, &WatchOrderRequest { name: name.to_owned(), ..Default::default() }.encode_to_vec())
}

/// The trailers of an answer: its last frame.
fn trailers(last: &(u8, Vec<u8>)) -> Vec<(String, String)> {
    assert_eq!(last.0, 0x80);
    let text = std::str::from_utf8(&last.1).unwrap();
    let lines = text.strip_suffix("\r\n").unwrap().split("\r\n");
    lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn has(trailers: &[(String, String)], name: &str, value: &str) -> bool {
    trailers.iter().any(|(other, told)| other == name && told == value)
}

#[tokio::test]
async fn a_call_passes_with_its_metadata_and_its_trailers_in_the_body() {
    let world = World::start().await;
    let headers = [BINARY, ("x-grpc-web", "1"), ("x-user-agent", "grpc-web-javascript/0.1"), ("x-asked", "why")];
    let answer = ask_as_anna(&world, GET, &headers, &get("orders/a")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, BINARY.1));
    assert_eq!(answer.header("x-answer"), "yes");
    let [message, last] = messages(&answer.body).try_into().unwrap();
    assert_eq!(Order::decode(message.1.as_slice()).unwrap().name, "orders/a");
    assert!(has(&trailers(&last), "grpc-status", "0"));
    let seen = world.orders.orders.seen.lock().unwrap().pop().unwrap();
    assert_eq!(seen.get("x-asked").unwrap(), "why");
    assert_eq!(seen.get("x-user-agent").unwrap(), "grpc-web-javascript/0.1");
    assert!(seen.get("x-grpc-web").is_none() && seen.get("accept").is_none());
}

#[tokio::test]
async fn text_is_base64_both_ways() {
    let world = World::start().await;
    let body = watch("orders/a");
    let (first, second) = body.split_at(4);
    let body = STANDARD.encode(first) + &STANDARD.encode(second);
    let answer = ask_as_anna(&world, WATCH, &[TEXT], body.as_bytes()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, TEXT.1));
    // Padding may stand behind each piece.
    let groups = answer.body.chunks(4).map(|group| STANDARD.decode(group).unwrap());
    let plain: Vec<u8> = groups.flatten().collect();
    let [one, two, three, last] = messages(&plain).try_into().unwrap();
    for (number, (flags, message)) in ["1", "2", "3"].into_iter().zip([one, two, three]) {
        assert_eq!(flags, 0);
        assert_eq!(WatchOrderResponse::decode(message.as_slice()).unwrap().resume_token, number);
    }
    assert!(has(&trailers(&last), "grpc-status", "0"));
}

#[tokio::test]
async fn a_stream_that_fails_has_its_error_in_the_last_frame() {
    let world = World::start().await;
    let answer = ask_as_anna(&world, WATCH, &[BINARY], &watch("orders/refused")).await;
    assert_eq!(answer.status, 200);
    let all = messages(&answer.body);
    assert_eq!(all.len(), 4);
    let trailers = trailers(&all[3]);
    assert!(has(&trailers, "grpc-status", "9") && has(&trailers, "x-trailer", "told"), "{trailers:?}");
    assert!(trailers.iter().any(|(name, _)| name == "grpc-status-details-bin"), "{trailers:?}");
}

#[tokio::test]
async fn a_call_that_is_refused_has_its_status_in_the_head() {
    let world = World::start().await;
    let status = |answer: &Answer| {
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        answer.header("grpc-status").to_owned()
    };
    let before = world.orders.calls();
    assert_eq!(status(&ask(&world, GET, &[BINARY], &get("orders/a")).await), "16");
    let unknown = "POST /no.such.Service/Method";
    assert_eq!(status(&ask_as_anna(&world, unknown, &[BINARY], &[]).await), "12");
    for body in ["no base64!", "AAAAAA"] {
        assert_eq!(status(&ask_as_anna(&world, GET, &[TEXT], body.as_bytes()).await), "3", "{body}");
    }
    assert_eq!(world.orders.calls(), before);
    let asked = ask_as_anna(&world, "GET /meshwork.orders.v1.OrderService/GetOrder", &[BINARY], &[]).await;
    assert_eq!((asked.status, asked.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_deadline_ends_a_call() {
    let world = World::start().await;
    let answer = ask_as_anna(&world, GET, &[BINARY, ("grpc-timeout", "100m")], &get("orders/held")).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "4"));
}

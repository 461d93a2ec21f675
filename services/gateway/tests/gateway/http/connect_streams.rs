//! Streams of Connect through the gateway, over HTTP/1.1.

use serde_json::{Value, json};

use super::client::{Answer, ask, ask_as_anna, messages, prefixed};
use crate::world::World;

const WATCH: &str = "POST /meshwork.orders.v1.OrderService/WatchOrder";
const JSON: (&str, &str) = ("content-type", "application/connect+json");

fn watch(name: &str) -> Vec<u8> {
    prefixed(0, json!({ "name": name }).to_string().as_bytes())
}

/// The messages of an answer, and its end.
#[track_caller]
fn told(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!((answer.status, answer.header("content-type")), (200, JSON.1), "{answer:?}");
    let mut all = messages(&answer.body);
    let (flags, end) = all.pop().unwrap();
    assert_eq!(flags, 2);
    let read = |message: &[u8]| serde_json::from_slice(message).unwrap();
    let before = all.iter().map(|(flags, message)| {
        assert_eq!(*flags, 0);
        read(message)
    });
    (before.collect(), read(&end))
}

#[tokio::test]
async fn a_stream_is_messages_and_its_end() {
    let world = World::start().await;
    let (messages, end) = told(&ask_as_anna(&world, WATCH, &[JSON], &watch("orders/a")).await);
    let expected = ["1", "2", "3"].map(|number| json!({ "resumeToken": number }));
    assert_eq!((messages, end), (expected.to_vec(), json!({})));
}

#[tokio::test]
async fn a_stream_that_fails_says_so_at_its_end() {
    let world = World::start().await;
    let (messages, end) = told(&ask_as_anna(&world, WATCH, &[JSON], &watch("orders/refused")).await);
    assert_eq!(messages.len(), 3);
    assert_eq!(end["error"]["code"], "failed_precondition");
    assert_eq!(end["metadata"]["x-trailer"], json!(["told"]));
    // Even when there is nothing else.
    let (messages, end) = told(&ask(&world, WATCH, &[JSON], &watch("orders/a")).await);
    assert_eq!((messages.len(), &end["error"]["code"]), (0, &json!("unauthenticated")));
    let timeout = ("connect-timeout-ms", "300");
    let (messages, end) = told(&ask_as_anna(&world, WATCH, &[JSON, timeout], &watch("orders/endless")).await);
    assert_eq!((messages.len(), &end["error"]["code"]), (3, &json!("deadline_exceeded")));
}

#[tokio::test]
async fn what_is_no_stream_is_refused() {
    let world = World::start().await;
    let before = world.orders.calls();
    let twice = [watch("orders/a"), watch("orders/a")].concat();
    for (body, code) in [
        (b"{}".to_vec(), "invalid_argument"),
        (prefixed(0, b"{"), "invalid_argument"),
        (prefixed(2, b"{}"), "invalid_argument"),
        // As the documents of Connect and gRPC have it.
        (prefixed(1, b"{}"), "internal"),
        (b"".to_vec(), "unimplemented"),
        (twice, "unimplemented"),
    ] {
        let (messages, end) = told(&ask_as_anna(&world, WATCH, &[JSON], &body).await);
        assert_eq!((messages.len(), &end["error"]["code"]), (0, &json!(code)), "{body:?}");
    }
    let (_, end) = told(&ask_as_anna(&world, WATCH, &[JSON, ("connect-content-encoding", "br")], &[]).await);
    assert_eq!(end["error"]["code"], "unimplemented");
    let large = [&[0][..], &(16_u32 << 20).to_be_bytes()].concat();
    let (_, end) = told(&ask_as_anna(&world, WATCH, &[JSON], &large).await);
    assert_eq!(end["error"]["code"], "resource_exhausted");
    let unary = ask_as_anna(&world, WATCH, &[("content-type", "application/json")], b"{}").await;
    let types = "application/connect+proto, application/connect+json";
    assert_eq!((unary.status, unary.header("accept-post")), (415, types));
    assert_eq!(world.orders.calls(), before);
}

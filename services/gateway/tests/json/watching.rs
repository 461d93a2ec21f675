//! Streams: lines of JSON, and server-sent events.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_watch_is_a_line_for_each_message() {
    let world = World::start().await;
    let lines = async |target: &str| {
        let answer = world.call("GET", target, &[], "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")), "{answer:?}");
        let lines = answer.body.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let token = |token: &str| json!({"result": {"resumeToken": token}});
    assert_eq!(lines("/v1/orders/a:watch").await, [token("1"), token("2"), token("3")]);
    assert_eq!(lines("/v1/orders/a:watch?resumeToken=2").await, [token("3")]);
    let broken = lines("/v1/orders/broken:watch?resumeToken=2").await;
    assert_eq!((broken.len(), &broken[0]), (2, &token("3")));
    let error = &broken[1]["error"];
    assert_eq!((error["code"].as_u64(), error["message"].as_str()), (Some(409), Some("it broke off")));
}

#[tokio::test]
async fn a_watch_is_an_event_for_each_message_and_goes_on_behind_the_last() {
    let world = World::start().await;
    let events = async |target: &str, last: &[(&str, &str)]| {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last);
        let answer = world.call("GET", target, &headers, "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")), "{answer:?}");
        answer.body
    };
    let event = |token: &str| format!("id: {token}\ndata: {{\"resumeToken\":\"{token}\"}}\n\n");
    let end = "event: end\ndata: {}\n\n";
    let all = [event("1"), event("2"), event("3"), end.to_owned()].concat();
    assert_eq!(events("/v1/orders/a:watch", &[]).await, all);
    let rest = [event("3"), end.to_owned()].concat();
    assert_eq!(events("/v1/orders/a:watch?resumeToken=1", &[("last-event-id", "2")]).await, rest);
    let broken = events("/v1/orders/broken:watch", &[("last-event-id", "3")]).await;
    assert!(broken.starts_with("event: error\ndata: {\"error\":{\"code\":409,"), "{broken}");
}

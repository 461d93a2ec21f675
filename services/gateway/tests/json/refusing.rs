//! Calls that are refused, by the gateway or by the service.

use serde_json::json;

use crate::client::send;
use crate::world::World;

#[tokio::test]
async fn faults_name_their_fields() {
    let world = World::start().await;
    let of_service = r#"{"lines": [{"product": "products/mug", "quantity": 0}]}"#;
    let answer = world.call("POST", "/v1/orders", &[], of_service).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "INVALID_FIELDS"));
    let violation = answer.detail("BadRequest")["fieldViolations"][0].take();
    assert_eq!(violation, json!({"field": "order.lines[0].quantity", "description": "must be above 0"}));
    for (target, body, field) in [
        ("/v1/orders", r#"{"lines": [{"qty": 1}]}"#, "order.lines[0].qty"),
        ("/v1/orders", r#"{"lines": 1}"#, "order.lines"),
        ("/v1/orders?oderId=a", "{}", "oderId"),
        ("/v1/orders", "{", "body"),
        ("/v1/orders", "{} {}", "body"),
        ("/v1/orders/a:cancel", r#"{"reason": "a", "reason": "b"}"#, "body"),
    ] {
        let answer = world.call("POST", target, &[], body).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "INVALID_FIELDS"), "{body}");
        assert_eq!(answer.detail("BadRequest")["fieldViolations"][0]["field"], field, "{answer:?}");
    }
    assert!(world.upstream.asked.created.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_version_that_was_overtaken_fails_the_precondition() {
    let world = World::start().await;
    let cancel =
        async |headers: &[(&str, &str)], body: &str| world.call("POST", "/v1/orders/a:cancel", headers, body).await;
    let overtaken = cancel(&[("if-match", "\"v0\"")], "").await;
    assert_eq!((overtaken.status, overtaken.reason().as_str()), (412, "ETAG_MISMATCH"));
    let in_body = cancel(&[], r#"{"etag": "\"v0\""}"#).await;
    assert_eq!((in_body.status, in_body.reason().as_str()), (409, "ETAG_MISMATCH"));
    assert_eq!(cancel(&[("if-match", "\"v1\"")], "{}").await.status, 200);
    assert_eq!(cancel(&[("if-match", "*")], "{}").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_asked_so_are_told_apart() {
    let world = World::start().await;
    let missing = world.call("GET", "/v1/orders/missing", &[], "").await;
    assert_eq!((missing.status, missing.json()["error"]["message"].as_str()), (404, Some("there is no such order")));
    let nowhere = world.call("GET", "/v1/nowhere", &[], "").await;
    assert_eq!((nowhere.status, nowhere.json()["error"]["status"].as_str()), (404, Some("NOT_FOUND")));
    let other = world.call("PUT", "/v1/orders", &[], "").await;
    let mut allowed: Vec<_> = other.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!((other.status, allowed), (405, vec!["GET", "HEAD", "POST"]));
    assert_eq!(other.json()["error"]["code"], 405);
}

#[tokio::test]
async fn who_is_not_signed_in_is_told_so() {
    let world = World::start().await;
    let answer = send(&world.address, "GET", "/v1/orders/a", &[], "").await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "NOT_SIGNED_IN"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    // A token has one name only.
    let token = format!("Bearer {}", world.issuer.token("anna", "customer"));
    let renamed = send(&world.address, "GET", "/v1/orders/a", &[("grpc-metadata-authorization", &token)], "").await;
    assert_eq!((renamed.status, renamed.reason().as_str()), (401, "NOT_SIGNED_IN"));
}

#[tokio::test]
async fn bodies_that_are_large_deep_or_of_another_type_are_refused() {
    let world = World::start().await;
    let large = world.call("POST", "/v1/orders", &[("content-length", "5000000")], "{").await;
    assert_eq!((large.status, large.reason().as_str()), (413, "MESSAGE_TOO_LARGE"));
    assert_eq!(large.json()["error"]["status"], "RESOURCE_EXHAUSTED");
    let other = world.call("POST", "/v1/orders", &[("content-type", "text/plain")], "{}").await;
    assert_eq!((other.status, other.reason().as_str()), (415, "MEDIA_TYPE_UNSUPPORTED"));
    let deep = format!("{{\"lines\": {}", "[".repeat(100_000));
    let deep = world.call("POST", "/v1/orders", &[], &deep).await;
    assert_eq!((deep.status, deep.reason().as_str()), (400, "INVALID_FIELDS"));
    let many = format!("{{\"lines\": [{}0]}}", "0,".repeat(100_000));
    let many = world.call("POST", "/v1/orders", &[], &many).await;
    assert_eq!((many.status, many.reason().as_str()), (400, "INVALID_FIELDS"));
    assert_eq!(world.call("GET", "/v1/orders/a", &[], "").await.status, 200);
}

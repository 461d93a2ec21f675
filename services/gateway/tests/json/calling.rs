//! Calls that are answered.

use serde_json::json;

use crate::client::send;
use crate::upstream::ETAG;
use crate::world::World;

const ORDER: &str = r#"{"lines": [{"product": "products/mug", "quantity": 2}]}"#;

#[tokio::test]
async fn who_signs_in_by_json_reads_an_order_by_the_token() {
    let world = World::start().await;
    let body = r#"{"email": "anna@example.com", "password": "correct horse"}"#;
    let json = [("content-type", "application/json")];
    let session = send(&world.address, "POST", "/v1/sessions:signIn", &json, body).await;
    assert_eq!(session.status, 200, "{session:?}");
    let token = format!("Bearer {}", session.json()["accessToken"].as_str().unwrap());
    let order = send(&world.address, "GET", "/v1/orders/a", &[("authorization", &token)], "").await;
    assert_eq!((order.status, order.json()), (200, json!({"name": "orders/a", "etag": ETAG})));
    assert_eq!(order.header("content-type"), Some("application/json"));
    assert_eq!(order.header("etag"), Some(ETAG));
    assert_eq!(order.header("grpc-metadata-x-answer"), Some("yes"));
    assert!(order.header("grpc-status").is_none(), "{order:?}");
}

#[tokio::test]
async fn a_head_is_that_of_the_get_without_its_body() {
    let world = World::start().await;
    let get = world.call("GET", "/v1/orders/a", &[], "").await;
    let head = world.call("HEAD", "/v1/orders/a", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    for name in ["content-type", "content-length", "etag", "cache-control"] {
        assert!(head.header(name).is_some(), "{name}: {head:?}");
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(world.call("HEAD", "/v1/orders/missing", &[], "").await.status, 404);
    assert_eq!(world.call("HEAD", "/v1/orders/a:cancel", &[], "").await.status, 405);
}

#[tokio::test]
async fn an_order_is_placed_and_its_key_is_its_request_id() {
    let world = World::start().await;
    let place = async |key: &str| {
        let headers = [("idempotency-key", key)];
        let answer = world.call("POST", "/v1/orders?orderId=b&expectedTotal.units=25", &headers, ORDER).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let line = json!([{"product": "products/mug", "quantity": "2"}]);
        assert_eq!(answer.json(), json!({"name": "orders/b", "etag": ETAG, "lines": line}));
        world.upstream.asked.created.lock().unwrap().pop().unwrap()
    };
    let first = place("order 17").await;
    assert_eq!((first.order_id.as_str(), first.expected_total.unwrap().units), ("b", 25));
    assert_eq!(first.request_id.len(), 36);
    assert_eq!(place("order 17").await.request_id, first.request_id);
    let uuid = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    assert_eq!(place(uuid).await.request_id, uuid);
}

#[tokio::test]
async fn a_patch_changes_what_its_json_names() {
    let world = World::start().await;
    let body = r#"{"displayName": "Mug", "description": null}"#;
    let patch = async |target: &str| {
        let answer = world.call_as("staff", "PATCH", target, &[("if-match", ETAG)], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let request = world.upstream.asked.updated.lock().unwrap().pop().unwrap();
        let product = request.product.unwrap();
        assert_eq!((product.name.as_str(), product.etag.as_str()), ("products/mug", ETAG));
        let mut paths = request.update_mask.unwrap().paths;
        paths.sort();
        paths
    };
    assert_eq!(patch("/v1/products/mug").await, ["description", "display_name"]);
    assert_eq!(patch("/v1/products/mug?updateMask=display_name").await, ["display_name"]);
}

#[tokio::test]
async fn lists_are_parameters_that_repeat() {
    let world = World::start().await;
    let target = "/v1/products:batchGet?names=products/a&names=products%2Fb";
    let answer = send(&world.address, "GET", target, &[], "").await;
    let products = json!({"products": [{"name": "products/a"}, {"name": "products/b"}]});
    assert_eq!((answer.status, answer.json()), (200, products));
}

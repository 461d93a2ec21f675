//! Answers that are large, or many values, as JSON.

use super::client::ask_as_anna;
use crate::world::World;

const GET: &str = "POST /meshwork.orders.v1.OrderService/GetOrder";
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn an_answer_that_is_large_as_json_arrives_whole() {
    let world = World::start().await;
    let by_json = ask_as_anna(&world, "GET /v1/orders/large", &[], b"").await;
    let by_connect = ask_as_anna(&world, GET, &[JSON], br#"{"name":"orders/large"}"#).await;
    for answer in [by_json, by_connect] {
        assert_eq!((answer.status, answer.header("content-length")), (200, answer.body.len().to_string().as_str()));
        assert!(answer.body.len() > 12_000_000);
        let order = answer.json();
        assert_eq!(order["lines"][0]["product"].as_str().unwrap().len(), 2_000_000);
    }
}

#[tokio::test]
async fn an_answer_of_too_many_values_is_refused_as_one_that_is_not_to_be_asked_for_again() {
    let world = World::start().await;
    let by_json = ask_as_anna(&world, "GET /v1/orders/many", &[], b"").await;
    assert_eq!((by_json.status, by_json.header("retry-after")), (400, ""), "{by_json:?}");
    let error = by_json.json()["error"].take();
    assert_eq!(error["status"], "OUT_OF_RANGE");
    assert_eq!(error["message"], "a message of the answer has more than 65536 values");
    let by_connect = ask_as_anna(&world, GET, &[JSON], br#"{"name":"orders/many"}"#).await;
    assert_eq!(by_connect.status, 400, "{by_connect:?}");
    assert_eq!(by_connect.json()["code"], "out_of_range");
    // Who takes protobuf has it.
    let message = [&[10, 11][..], b"orders/many"].concat();
    let by_proto = ask_as_anna(&world, GET, &[("content-type", "application/proto")], &message).await;
    assert_eq!((by_proto.status, by_proto.body.len()), (200, 13 + 2 * 70_000));
}

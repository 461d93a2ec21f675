//! Pages of other origins, and a port that answers gRPC alone.

use meshwork_gateway::HttpConfig;

use super::client::{Answer, ask, ask_as_anna};
use crate::world::World;

const PATH: &str = "/meshwork.orders.v1.OrderService/GetOrder";
const SHOP: &str = "https://shop.example";

async fn preflight(world: &World, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    ask(world, &format!("OPTIONS {PATH}"), &headers, &[]).await
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_set_calls_and_reads_the_answer() {
    let config = HttpConfig { cors_origins: vec![SHOP.to_owned()], ..HttpConfig::default() };
    let world = World::with_http(config).await;
    let granted = preflight(&world, SHOP).await;
    assert_eq!((granted.status, granted.header("access-control-allow-origin")), (204, SHOP));
    assert_eq!(granted.header("access-control-allow-headers"), "authorization,content-type");
    let other = preflight(&world, "https://other.example").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (204, ""));

    let headers = [("content-type", "application/json"), ("origin", SHOP)];
    let answer = ask_as_anna(&world, &format!("POST {PATH}"), &headers, br#"{"name":"orders/a"}"#).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, SHOP));
    let exposed = answer.header("access-control-expose-headers");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-answer"] {
        assert!(exposed.split(", ").any(|other| other == name), "{name} is missing in {exposed}");
    }
    // Errors are read too.
    let refused = ask(&world, &format!("POST {PATH}"), &headers, b"{}").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, SHOP));
    assert!(world.orders.orders.seen.lock().unwrap().pop().unwrap().get("origin").is_none());
}

#[tokio::test]
async fn no_origin_is_set_by_default() {
    let world = World::start().await;
    let refused = preflight(&world, SHOP).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (405, ""));
    let headers = [("content-type", "application/json"), ("origin", SHOP)];
    let answer = ask_as_anna(&world, &format!("POST {PATH}"), &headers, br#"{"name":"orders/a"}"#).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
}

#[tokio::test]
async fn a_port_that_answers_grpc_alone_answers_nothing_else() {
    let world = World::with_http(HttpConfig { enabled: false, ..HttpConfig::default() }).await;
    let headers = [("content-type", "application/json")];
    let answer = ask_as_anna(&world, &format!("POST {PATH}"), &headers, br#"{"name":"orders/a"}"#).await;
    assert_eq!(answer.status, 505);
    world.get("anna", "orders/a").await.unwrap();
}

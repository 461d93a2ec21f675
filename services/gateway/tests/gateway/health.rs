//! Health and reflection at the gateway.

use meshwork_chassis::auth::AccessTable;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::ServingStatus as Told;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::upstream::ORDERS;
use crate::world::{World, error, told};

/// A service that all have.
const DEAD_LETTERS: &str = "meshwork.admin.v1.DeadLetterService";
/// A service that only services may call.
const INTERNAL: &str = "meshwork.admin.v1.EventSourceService";

#[tokio::test]
async fn the_health_of_a_service_is_what_it_says_itself() {
    let mut world = World::start().await;
    world.wait_for_health(ORDERS, ServingStatus::Serving).await;
    world.orders.health.set_service_status("", Told::NotServing).await;
    world.wait_for_health(ORDERS, ServingStatus::NotServing).await;
    // Who says that it isn't serving gets no calls.
    let before = world.orders.calls();
    let status = world.get("anna", "orders/a").await.unwrap_err();
    assert_eq!(told(&status), error(Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
    assert_eq!(world.orders.calls(), before);
    world.orders.health.set_service_status("", Told::Serving).await;
    world.wait_for_health(ORDERS, ServingStatus::Serving).await;
    world.get("anna", "orders/a").await.unwrap();

    world.orders.kill();
    world.wait_for_health(ORDERS, ServingStatus::NotServing).await;
    assert_eq!(world.health("").await.unwrap(), ServingStatus::Serving, "the gateway itself is well");
    world.orders.restart().await;
    world.wait_for_health(ORDERS, ServingStatus::Serving).await;
}

#[tokio::test]
async fn a_service_that_several_have_is_serving_while_one_of_them_is() {
    let mut world = World::before_orders_alone().await;
    world.wait_for_health(DEAD_LETTERS, ServingStatus::Serving).await;
    world.orders.kill();
    world.wait_for_health(DEAD_LETTERS, ServingStatus::NotServing).await;
    world.orders.restart().await;
    world.wait_for_health(DEAD_LETTERS, ServingStatus::Serving).await;
}

#[tokio::test]
async fn every_service_for_people_has_a_health_and_others_have_none() {
    let world = World::start().await;
    for service in AccessTable::from_contracts().unwrap().without_internal().services() {
        let health = world.health(&service).await.unwrap();
        // Nothing listens where these would be.
        if service.starts_with("meshwork.products.") || service.starts_with("meshwork.notifications.") {
            assert_eq!(health, ServingStatus::NotServing, "{service}");
        }
    }
    for service in ["no.such.Service", INTERNAL] {
        assert_eq!(world.health(service).await.unwrap_err().code(), Code::NotFound, "{service}");
    }
}

#[tokio::test]
async fn reflection_shows_all_services() {
    let world = World::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let shown: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in AccessTable::from_contracts().unwrap().without_internal().services() {
        assert!(shown.contains(&service), "{service} is missing in {shown:?}");
    }
    assert!(!shown.iter().any(|name| name == INTERNAL), "{INTERNAL} is for services alone");
    for service in ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(shown.iter().any(|name| name == service), "{service} is missing in {shown:?}");
    }
}

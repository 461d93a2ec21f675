//! Services that several upstreams have, and the one that a caller means.

use meshwork_api::meshwork::admin::v1::cache_service_client::CacheServiceClient;
use meshwork_api::meshwork::admin::v1::dead_letter_service_client::DeadLetterServiceClient;
use meshwork_api::meshwork::admin::v1::event_source_service_client::EventSourceServiceClient;
use meshwork_api::meshwork::admin::v1::projection_service_client::ProjectionServiceClient;
use meshwork_api::meshwork::admin::v1::{
    GetCacheStatsRequest, ListDeadLettersRequest, ListProjectionsRequest, ReadStreamRequest,
};
use meshwork_gateway::domain::SERVICE;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::world::{World, error, told};

/// Lists dead letters as staff; `named` are the values of the metadata.
async fn dead_letters(world: &World, named: &[&str]) -> Result<(), Status> {
    let request = naming(world.request_of("sue", "staff", ListDeadLettersRequest::default()), named);
    DeadLetterServiceClient::new(world.channel.clone()).list_dead_letters(request).await.map(drop)
}

fn naming<T>(mut request: Request<T>, named: &[&str]) -> Request<T> {
    for name in named {
        request.metadata_mut().append(SERVICE, name.parse().unwrap());
    }
    request
}

#[track_caller]
fn assert_must_say(status: &Status, right: &str) {
    assert_eq!(told(status), error(Code::InvalidArgument, "SERVICE_REQUIRED"));
    assert_eq!(status.message(), format!("the metadata meshwork-service {right}"));
    assert_eq!(status.get_details_error_info().unwrap().metadata["field"], SERVICE);
    let [violation] = status.get_details_bad_request().unwrap().field_violations.try_into().unwrap();
    assert_eq!((violation.field.as_str(), violation.description.as_str()), (SERVICE, right));
}

#[tokio::test]
async fn a_call_goes_to_the_service_that_it_names() {
    let world = World::start().await;
    dead_letters(&world, &["orders"]).await.unwrap();
    let seen = world.orders.orders.asked.lock().unwrap().pop().unwrap();
    assert!(seen.get("authorization").is_some() && seen.get(SERVICE).is_none(), "{seen:?}");
    // Nothing listens where these would be.
    for name in ["products", "notifications"] {
        let status = dead_letters(&world, &[name]).await.unwrap_err();
        assert_eq!(told(&status), error(Code::Unavailable, "UPSTREAM_UNAVAILABLE"), "{name}");
        assert_eq!(status.get_details_error_info().unwrap().metadata["upstream"], name);
    }
    assert!(world.orders.orders.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_call_that_names_none_of_them_is_told_what_is_right() {
    let world = World::start().await;
    let long = "orders".repeat(500);
    for named in [&[][..], &["user"], &["gateway"], &["ORDERS"], &[""], &[long.as_str()], &["orders", "orders"]] {
        let status = dead_letters(&world, named).await.unwrap_err();
        assert_must_say(&status, "must be there once, and be one of users, products, orders, notifications");
    }
    assert!(world.orders.orders.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_only_one_has_need_not_be_named_but_not_otherwise() {
    let world = World::start().await;
    let list = async |named: &[&str]| {
        let request = naming(world.request_of("sue", "staff", ListProjectionsRequest::default()), named);
        ProjectionServiceClient::new(world.channel.clone()).list_projections(request).await.unwrap_err()
    };
    for named in [&[][..], &["orders"]] {
        // It has come there: the fake has no such service.
        let status = list(named).await;
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.get_details_error_info().is_none(), "{status:?}");
    }
    assert_must_say(&list(&["products"]).await, "must be orders, or be left out");
}

#[tokio::test]
async fn caches_are_those_of_users_or_of_products() {
    let world = World::start().await;
    let stats = async |named: &[&str]| {
        let request = naming(world.request_of("sue", "staff", GetCacheStatsRequest {}), named);
        CacheServiceClient::new(world.channel.clone()).get_cache_stats(request).await.unwrap_err()
    };
    for named in [&[][..], &["orders"], &["notifications"], &["users", "products"]] {
        assert_must_say(&stats(named).await, "must be there once, and be one of users, products");
    }
    // Nothing listens where it would be.
    let status = stats(&["products"]).await;
    assert_eq!(told(&status), error(Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
    assert_eq!(status.get_details_error_info().unwrap().metadata["upstream"], "products");
}

#[tokio::test]
async fn what_only_services_may_call_is_unknown_to_everybody() {
    let world = World::start().await;
    let client = EventSourceServiceClient::new(world.channel.clone());
    let read = ReadStreamRequest { subject: "orders/a".to_owned(), ..ReadStreamRequest::default() };
    let mut requests = vec![Request::new(read.clone())];
    requests.extend(["customer", "staff", "service"].map(|role| world.request_of("sue", role, read.clone())));
    for request in requests {
        let status = client.clone().read_stream(naming(request, &["orders"])).await.unwrap_err();
        assert_eq!(told(&status), error(Code::Unimplemented, "METHOD_UNKNOWN"));
    }
}

//! The lists as a projection, for those who run the shop.

use meshwork_api::meshwork::admin::v1 as proto;
use meshwork_api::meshwork::admin::v1::projection::version::State;
use tonic::{Code, Request};

use crate::refusal::{bad_fields, because, reason_of};
use crate::shop::{Shop, eventually};

fn get(name: &str) -> proto::GetProjectionRequest {
    proto::GetProjectionRequest { name: name.to_owned() }
}

/// The projection of orders, as staff see it.
async fn orders(shop: &Shop) -> proto::Projection {
    shop.projections("sam", "staff").get_projection(get("projections/orders")).await.unwrap().into_inner()
}

fn live(projection: &proto::Projection) -> &proto::projection::Version {
    let live = projection.versions.iter().find(|version| version.state() == State::Live);
    live.unwrap_or_else(|| panic!("no version is live: {projection:?}"))
}

#[tokio::test]
async fn the_lists_tell_how_far_they_have_come() {
    let shop = Shop::open().await;
    for _ in 0..3 {
        shop.order("anna").await;
    }
    let caught_up = async || {
        let projection = orders(&shop).await;
        let partitions = &live(&projection).partitions;
        assert_eq!(partitions.len(), 4);
        assert!(partitions.iter().all(|partition| partition.lag == partition.head - partition.position));
        partitions.iter().all(|partition| partition.lag == 0) && partitions.iter().any(|partition| partition.head > 0)
    };
    eventually("the lists to have come to the head", caught_up).await;
    let mut staff = shop.projections("sam", "staff");
    let listed = staff.list_projections(proto::ListProjectionsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.next_page_token, "");
    assert_eq!(listed.projections.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["projections/orders"]);
}

#[tokio::test]
async fn es_7_a_parked_order_is_told_with_its_reason() {
    let shop = Shop::open().await;
    let damaged = shop.order("anna").await.name;
    shop.damage(&damaged).await;
    eventually("the order to be parked", async || !live(&orders(&shop).await).parked_streams.is_empty()).await;
    let projection = orders(&shop).await;
    let [parked] = live(&projection).parked_streams.as_slice() else { panic!("{projection:?}") };
    assert_eq!(parked.stream, damaged);
    assert!(parked.reason.contains("order_confirmed"), "{parked:?}");
}

#[tokio::test]
async fn only_staff_see_and_change_projections() {
    let shop = Shop::open().await;
    for role in ["customer", "service"] {
        let mut caller = shop.projections("anna", role);
        let name = || "projections/orders".to_owned();
        let refused = because(Code::PermissionDenied, "NOT_ALLOWED");
        assert_eq!(reason_of(caller.get_projection(get(&name())).await), refused);
        assert_eq!(reason_of(caller.list_projections(proto::ListProjectionsRequest::default()).await), refused);
        let retry = proto::RetryParkedRequest { name: name(), stream: "orders/a".to_owned() };
        assert_eq!(reason_of(caller.retry_parked(retry).await), refused);
        let rebuild = proto::RebuildProjectionRequest { name: name(), accept_differences: true };
        assert_eq!(reason_of(caller.rebuild_projection(rebuild).await), refused);
        let rollback = proto::RollbackProjectionRequest { name: name() };
        assert_eq!(reason_of(caller.rollback_projection(rollback).await), refused);
    }
}

#[tokio::test]
async fn names_of_no_projection_are_refused() {
    let shop = Shop::open().await;
    let mut staff = shop.projections("sam", "staff");
    for name in ["", "projections/", "orders", "projections/a/b"] {
        assert_eq!(bad_fields(staff.get_projection(get(name)).await), ["name"], "{name}");
    }
    let unknown = staff.get_projection(get("projections/customers")).await;
    assert_eq!(reason_of(unknown), because(Code::NotFound, "PROJECTION_NOT_FOUND"));
    let none = Request::new(proto::RetryParkedRequest { name: "orders".to_owned(), stream: String::new() });
    assert_eq!(bad_fields(staff.retry_parked(none).await), ["stream", "name"]);
}

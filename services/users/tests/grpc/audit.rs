//! Who is told of the service's events, and of which.

use std::collections::BTreeSet;

use meshwork_api::meshwork::admin::v1 as proto;
use meshwork_api::meshwork::admin::v1::audit_service_client::AuditServiceClient;
use tonic::{Code, Request, Streaming};

use crate::world::{World, eventually, refused};

async fn all<T>(mut responses: Streaming<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        all.push(response);
    }
    all
}

#[tokio::test]
async fn staff_is_told_of_all_events_and_nobody_else_is() {
    let world = World::start().await;
    let (anna, staff) = (world.customer().await, world.staff().await);
    let mut audit = AuditServiceClient::new(world.channel.clone());
    let (source, published) = (proto::ReadSourceRequest::default(), proto::ReadPublishedRequest {});
    refused(audit.read_source(Request::new(source)).await, Code::Unauthenticated, "NOT_SIGNED_IN");
    refused(audit.read_source(anna.asks(source)).await, Code::PermissionDenied, "NOT_ALLOWED");
    refused(audit.read_published(anna.asks(published)).await, Code::PermissionDenied, "NOT_ALLOWED");
    let applied = proto::ReadAppliedRequest {};
    refused(audit.read_applied(anna.asks(applied)).await, Code::PermissionDenied, "NOT_ALLOWED");

    let pages = all(audit.read_source(staff.asks(source)).await.unwrap().into_inner()).await;
    let appended: BTreeSet<_> = pages
        .into_iter()
        .flat_map(|page| page.commits)
        .flat_map(|commit| commit.events)
        .map(|event| (event.id, event.content_hash))
        .collect();
    assert!(appended.iter().any(|(id, _)| *id == format!("{}:1", anna.name())), "{appended:?}");
    let audit = &audit;
    eventually("all to be published", async || {
        let pages = all(audit.clone().read_published(staff.asks(published)).await.unwrap().into_inner()).await;
        let events = pages.into_iter().flat_map(|page| page.events).filter_map(|published| published.event);
        events.map(|event| (event.id, event.content_hash)).collect::<BTreeSet<_>>() == appended
    })
    .await;
    // It follows nobody.
    assert_eq!(all(audit.clone().read_applied(staff.asks(applied)).await.unwrap().into_inner()).await, []);
}

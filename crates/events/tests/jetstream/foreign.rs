//! Events as somebody sees them who knows NATS and CloudEvents, but not us.

use std::time::Duration;

use futures_util::StreamExt;
use meshwork_testkit::Nats;

use crate::common::{event, publish, repair};
use crate::server::Reached as _;

#[tokio::test]
async fn a_plain_subscriber_gets_cloudevents() {
    let nats = Nats::start();
    let (bus, client) = (nats.bus().await, nats.stranger().await);
    let mut messages = client.subscribe("orders.v1.>").await.unwrap();
    let mut repairs = client.subscribe("orders-repair.v1.>").await.unwrap();
    client.flush().await.unwrap();
    let mut created = event(42);
    created.context.trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    created.context.trace_state = "vendor=a, other=b".to_owned();
    created.context.actor = "users/Zoë".to_owned();
    publish(&*bus, &[created.clone(), event(43)]).await;
    repair(&*bus, &[event(41)]).await;

    let message = tokio::time::timeout(Duration::from_secs(10), messages.next()).await.unwrap().unwrap();
    assert_eq!(message.subject.as_str(), "orders.v1.order_created.p03");
    assert_eq!(message.payload, created.data);
    let headers = message.headers.unwrap();
    let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    for (name, value) in [
        ("Content-Type", "application/protobuf"),
        ("ce-specversion", "1.0"),
        ("ce-id", "orders/42:1"),
        ("ce-source", "orders"),
        ("ce-type", "order_created"),
        ("ce-subject", "orders/42"),
        ("ce-partitionkey", "orders/42"),
        ("ce-sequence", "00000000000000000042.0000000000"),
        ("ce-aggregateversion", "1"),
        ("ce-dataschema", "urn:event-schema:order_created:1"),
        ("ce-actor", "users/Zo%C3%AB"),
        ("ce-traceparent", created.context.trace_parent.as_str()),
        ("ce-tracestate", "vendor=a,%20other=b"),
        ("traceparent", created.context.trace_parent.as_str()),
        ("tracestate", "vendor=a, other=b"),
        ("Nats-Msg-Id", "orders/42:1@3.42.0"),
    ] {
        assert_eq!(header(name), Some(value), "{name}");
    }
    assert!(header("ce-time").unwrap().ends_with('Z'));
    let repaired = tokio::time::timeout(Duration::from_secs(10), repairs.next()).await.unwrap().unwrap();
    assert_eq!(repaired.subject.as_str(), "orders-repair.v1.order_confirmed.p03");
    let id = repaired.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
    assert_eq!(id.map(async_nats::HeaderValue::as_str), Some("repair/orders/41:1@3.41.0"));
}

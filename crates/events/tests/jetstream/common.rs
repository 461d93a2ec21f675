//! Events, and short ways to publish and read them.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use meshwork_events::{
    Batch, Bus, BusError, Context, Delivery, Envelope, Lane, Position, ReadFrom, Scope, Subscription,
};
use serde_json::Value;
use time::OffsetDateTime;

/// For how long a subscription waits for its first event.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub const PARTITION: u16 = 3;

pub fn lane() -> Lane {
    Lane { stream: "orders".to_owned(), partition: PARTITION }
}

/// The first event of the commit `n`, each of an aggregate of its own.
pub fn event(n: i64) -> Envelope {
    sized(n, 16)
}

/// An event with so much data.
pub fn sized(n: i64, bytes: usize) -> Envelope {
    Envelope {
        id: format!("orders/{n}:1"),
        source: "orders".to_owned(),
        event_type: if n % 2 == 0 { "order_created" } else { "order_confirmed" }.to_owned(),
        schema_version: 1,
        subject: format!("orders/{n}"),
        version: 1,
        position: Position { partition: PARTITION, n, index: 0 },
        time: OffsetDateTime::now_utc(),
        context: Context::default(),
        data: Bytes::from(vec![7; bytes]),
    }
}

pub fn events(ns: impl IntoIterator<Item = i64>) -> Vec<Envelope> {
    ns.into_iter().map(event).collect()
}

pub fn position(n: i64) -> Position {
    Position { partition: PARTITION, n, index: 0 }
}

pub async fn publish(bus: &dyn Bus, events: &[Envelope]) {
    bus.publisher(&lane()).await.unwrap().publish(events).await.unwrap();
}

pub async fn repair(bus: &dyn Bus, events: &[Envelope]) {
    bus.publisher(&lane()).await.unwrap().repair(events).await.unwrap();
}

/// All that a reader gives.
pub async fn read(bus: &dyn Bus, from: ReadFrom, scope: Scope) -> Vec<i64> {
    let mut reader = bus.reader(&lane(), from, scope).await.unwrap();
    let mut all = Vec::new();
    loop {
        let events = reader.next(100, Duration::ZERO).await.unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().map(|event| event.position.n));
    }
}

pub fn ns(batch: &Batch) -> Vec<i64> {
    batch.deliveries.iter().map(|delivery| delivery.event.position.n).collect()
}

/// What a subscription gives until it has given so much.
pub async fn take(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    let taking = async {
        while all.len() < count {
            all.extend(subscription.next(count - all.len(), SECOND).await.unwrap().deliveries);
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), taking).await.is_ok(), "{} of {count} came", all.len());
    all
}

pub fn numbers(deliveries: &[Delivery]) -> Vec<i64> {
    deliveries.iter().map(|delivery| delivery.event.position.n).collect()
}

/// A request to JetStream, as an administrator makes it.
pub async fn admin(client: &Client, operation: &str, body: Value) -> Value {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let answer = client.request(format!("$JS.API.{operation}"), body).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Tries until it succeeds.
pub async fn eventually<T>(mut attempt: impl AsyncFnMut() -> Result<T, BusError>) -> T {
    let trying = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), trying).await.unwrap()
}

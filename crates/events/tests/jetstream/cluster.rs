//! Streams of three copies.

use std::time::Duration;

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_events::{Bus, BusError, ReadFrom, Resume, Scope};
use meshwork_testkit::Nats;

use crate::common::{events, lane, numbers, position, take};
use crate::server::Reached as _;

/// Tries for as long as an election may take.
async fn elected<T>(mut attempt: impl AsyncFnMut() -> Result<T, BusError>) -> T {
    let trying = async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(90), trying).await.unwrap()
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_the_leader_ends() {
    let nats = Nats::cluster();
    // Each bus is connected to one of the servers at first.
    let options = JetStreamOptions { replicas: 3, ..nats.options() };
    let one = JetStreamBus::connect(options.clone()).await.unwrap();
    let two = JetStreamBus::connect(options).await.unwrap();
    let mut a = elected(async || one.publisher(&lane()).await).await;
    let mut b = two.publisher(&lane()).await.unwrap();

    // The fence holds for singles and batches.
    a.publish(&events(1..=1)).await.unwrap();
    assert!(matches!(b.publish(&events(1..=5)).await, Err(BusError::TailMoved)));
    a.publish(&events(2..=20)).await.unwrap();
    assert!(matches!(b.publish(&events(2..=2)).await, Err(BusError::TailMoved)));
    let mut b = two.publisher(&lane()).await.unwrap();
    let (x, y) = (events(21..=30), events(21..=30));
    let (first, second) = tokio::join!(a.publish(&x), b.publish(&y));
    assert!(first.is_ok() != second.is_ok(), "{first:?}, {second:?}");
    a.repair(&events(5..=6)).await.unwrap();

    // A consumer that has ended is taken over.
    let mut ended = elected(async || one.subscribe("products", &lane(), Resume::FromStart).await).await;
    let held = take(&mut *ended, 10).await;
    ended.done_through(held[4].place).await.unwrap();
    std::mem::forget(ended);
    let mut subscription = two.subscribe("products", &lane(), Resume::Behind(position(5))).await.unwrap();
    let again = take(&mut *subscription, 27).await;
    assert_eq!(numbers(&again), (6..=30).chain(5..=6).collect::<Vec<_>>());
    subscription.done_through(again[9].place).await.unwrap();

    // The leader ends while it is published to.
    let leader = nats.leader_of("ORDERS");
    let mut next = 31;
    for round in 0..40 {
        if round == 10 {
            nats.node(leader).kill();
        }
        let mut publisher = elected(async || one.publisher(&lane()).await).await;
        let tail = publisher.tail().map_or(0, |tail| tail.position.n);
        assert!(tail >= next - 1, "{tail} after {}", next - 1);
        next = tail + 1;
        if publisher.publish(&events(next..=next + round % 5)).await.is_ok() {
            next += round % 5 + 1;
        }
    }
    let mut all = elected(async || {
        let mut reader = two.reader(&lane(), ReadFrom::Start, Scope::Published).await?;
        let mut all = Vec::new();
        loop {
            let events = reader.next(100, Duration::ZERO).await?;
            if events.is_empty() {
                return Ok(all);
            }
            all.extend(events.iter().map(|event| event.position.n));
        }
    })
    .await;
    let expected: Vec<i64> = (1..=i64::try_from(all.len()).unwrap()).collect();
    assert!(all.len() >= usize::try_from(next - 1).unwrap());
    assert_eq!(all, expected);

    // The consumer goes on with what was not done.
    let mut subscription =
        elected(async || two.subscribe("products", &lane(), Resume::Behind(position(15))).await).await;
    let rest = take(&mut *subscription, all.len() - 15 + 2).await;
    all.drain(..15);
    let fresh: Vec<i64> = numbers(&rest).into_iter().filter(|n| *n > 15).collect();
    assert_eq!(fresh, all);
}

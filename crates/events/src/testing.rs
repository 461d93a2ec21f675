//! The conformance suite: what every bus must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::{BusError, Envelope, EventBus, Position};

/// Runs the suite on a bus, which may hold streams of others.
pub async fn conformance(bus: Arc<dyn EventBus>) {
    let bus = bus.as_ref();
    what_is_published_is_fetched_in_order(bus).await;
    a_publisher_with_another_tail_is_refused_and_nothing_is_stored(bus).await;
    consumers_advance_on_their_own(bus).await;
    an_older_acknowledgement_takes_nothing_back(bus).await;
    acknowledgements_can_be_taken_back(bus).await;
    registering_again_takes_nothing_back(bus).await;
    a_waiting_consumer_is_woken(bus).await;
}

/// An event of `subject` at `version`, in partition 3 at (`n`, `index`).
pub fn event(subject: &str, version: i64, n: i64, index: u32) -> Envelope {
    Envelope {
        id: Envelope::id_of(subject, version),
        source: "tests".to_owned(),
        event_type: "happened".to_owned(),
        subject: subject.to_owned(),
        version,
        position: Position { partition: 3, n, index },
        time: OffsetDateTime::UNIX_EPOCH + Duration::from_micros(1_234_567),
        data: format!("{subject} at {version}").into(),
    }
}

async fn what_is_published_is_fetched_in_order(bus: &dyn EventBus) {
    assert_eq!(bus.tail("order", 3).await.unwrap(), None);
    let first = [event("a", 1, 1, 0), event("a", 2, 1, 1)];
    let second = [event("b", 1, 3, 0)];
    bus.publish("order", 3, None, first.to_vec()).await.unwrap();
    bus.publish("order", 3, Some(first[1].position), second.to_vec()).await.unwrap();
    assert_eq!(bus.tail("order", 3).await.unwrap().as_ref(), second.last());
    let all = [first.as_slice(), &second].concat();
    assert_eq!(bus.fetch("reader", "order", 3, 10).await.unwrap(), all);
    assert_eq!(bus.fetch("reader", "order", 3, 2).await.unwrap(), first);
    assert_eq!(bus.fetch("reader", "order", 4, 10).await.unwrap(), []);
    assert_eq!(bus.fetch("reader", "another", 3, 10).await.unwrap(), []);
}

async fn a_publisher_with_another_tail_is_refused_and_nothing_is_stored(bus: &dyn EventBus) {
    let first = event("a", 1, 1, 0);
    bus.publish("fenced", 3, None, vec![first.clone()]).await.unwrap();
    for expected in [None, Some(Position { partition: 3, n: 2, index: 0 })] {
        let refused = bus.publish("fenced", 3, expected, vec![event("a", 2, 2, 0)]).await;
        assert!(matches!(refused, Err(BusError::TailMoved)), "{expected:?}");
    }
    assert_eq!(bus.fetch("reader", "fenced", 3, 10).await.unwrap(), [first]);
}

async fn consumers_advance_on_their_own(bus: &dyn EventBus) {
    let events = [event("a", 1, 1, 0), event("a", 2, 1, 1), event("a", 3, 2, 0)];
    bus.publish("consumed", 3, None, events.to_vec()).await.unwrap();
    bus.acknowledge("fast", "consumed", events[1].position).await.unwrap();
    assert_eq!(bus.fetch("fast", "consumed", 3, 10).await.unwrap(), events[2..]);
    assert_eq!(bus.fetch("slow", "consumed", 3, 10).await.unwrap(), events);
}

async fn an_older_acknowledgement_takes_nothing_back(bus: &dyn EventBus) {
    let events = [event("a", 1, 1, 0), event("a", 2, 2, 0)];
    bus.publish("late", 3, None, events.to_vec()).await.unwrap();
    bus.acknowledge("reader", "late", events[1].position).await.unwrap();
    bus.acknowledge("reader", "late", events[0].position).await.unwrap();
    assert_eq!(bus.fetch("reader", "late", 3, 10).await.unwrap(), []);
}

async fn acknowledgements_can_be_taken_back(bus: &dyn EventBus) {
    let events = [event("a", 1, 1, 0), event("a", 2, 1, 1), event("a", 3, 2, 0)];
    bus.publish("rewound", 3, None, events.to_vec()).await.unwrap();
    for consumer in ["reader", "another"] {
        bus.register(consumer, "rewound").await.unwrap();
        assert!(!bus.rewind(consumer, "rewound", events[0].position).await.unwrap(), "nothing was acknowledged");
        bus.acknowledge(consumer, "rewound", events[2].position).await.unwrap();
    }
    assert!(!bus.rewind("reader", "rewound", events[2].position).await.unwrap(), "nothing lies behind the tail");
    assert_eq!(bus.fetch("reader", "rewound", 3, 10).await.unwrap(), []);
    assert!(bus.rewind("reader", "rewound", events[0].position).await.unwrap());
    assert_eq!(bus.fetch("reader", "rewound", 3, 10).await.unwrap(), events[1..]);
    // What is ahead of what is acknowledged moves nothing.
    assert!(!bus.rewind("reader", "rewound", events[1].position).await.unwrap());
    assert_eq!(bus.fetch("reader", "rewound", 3, 10).await.unwrap(), events[1..]);
    assert_eq!(bus.fetch("another", "rewound", 3, 10).await.unwrap(), []);
    // Behind it they are acknowledged as ever.
    bus.acknowledge("reader", "rewound", events[2].position).await.unwrap();
    assert_eq!(bus.fetch("reader", "rewound", 3, 10).await.unwrap(), []);
}

async fn registering_again_takes_nothing_back(bus: &dyn EventBus) {
    let events = [event("a", 1, 1, 0), event("a", 2, 2, 0)];
    bus.publish("registered", 3, None, events.to_vec()).await.unwrap();
    bus.register("reader", "registered").await.unwrap();
    assert_eq!(bus.fetch("reader", "registered", 3, 10).await.unwrap(), events);
    bus.acknowledge("reader", "registered", events[0].position).await.unwrap();
    bus.register("reader", "registered").await.unwrap();
    assert_eq!(bus.fetch("reader", "registered", 3, 10).await.unwrap(), events[1..]);
    // Events are parked with their consumers by now.
    assert_eq!(bus.parked("reader", "registered", 3).await.unwrap(), []);
    bus.unpark("reader", "registered", events[0].position).await.unwrap();
}

async fn a_waiting_consumer_is_woken(bus: &dyn EventBus) {
    let mut beats = bus.beats("woken", 3);
    bus.publish("woken", 3, None, vec![event("a", 1, 1, 0)]).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(10), beats.any(Duration::from_secs(60))).await;
    assert!(woken.is_ok(), "no beat came");
}

//! What lies on the lanes of a stream.

use std::time::Duration;

use meshwork_events::{Bus, BusError, Envelope, Lane, ReadFrom, Scope};
use tokio::time::{Instant, sleep};

use crate::checks::all_seen;
use crate::running::eventually;
use crate::shop::Shop;

/// All that the lanes hold, one lane after the other. A lane without a leader is read once it has one again: a cluster
/// that lost a node elects for each stream and consumer by itself, some seconds long.
pub(crate) async fn read(bus: &dyn Bus, stream: &str, scope: Scope) -> Vec<Envelope> {
    let mut all = Vec::new();
    for lane in bus.lanes(stream) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let events = loop {
            match lane_from_its_start(bus, &lane, scope).await {
                Ok(events) => break events,
                Err(BusError::Unavailable(_)) if Instant::now() < deadline => sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{lane}: {error}"),
            }
        };
        all.extend(events);
    }
    all
}

async fn lane_from_its_start(bus: &dyn Bus, lane: &Lane, scope: Scope) -> Result<Vec<Envelope>, BusError> {
    let mut events = Vec::new();
    let mut reader = bus.reader(lane, ReadFrom::Start, scope).await?;
    loop {
        let page = reader.next(256, Duration::from_millis(20)).await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

/// The place of each lane's last event; 0 in an empty lane.
pub(crate) async fn tails(bus: &dyn Bus, stream: &str) -> Result<Vec<i64>, BusError> {
    let mut tails = Vec::new();
    for lane in bus.lanes(stream) {
        tails.push(bus.publisher(&lane).await?.tail().map_or(0, |tail| tail.position.n));
    }
    Ok(tails)
}

/// Waits until the last events that a shop has told of are on their lanes.
pub(crate) async fn have_all(bus: &dyn Bus, stream: &str, shop: &Shop) {
    let heads = shop.heads();
    eventually("the last events on the lanes", async || tails(bus, stream).await.is_ok_and(|it| it == heads)).await;
}

/// Whether events were published once, and in the order of their positions (NT-1, I8).
pub(crate) fn each_once_in_order(events: &[Envelope], expected: &[(String, i64)]) -> Result<(), String> {
    for pair in events.windows(2) {
        if pair[0].position.partition == pair[1].position.partition && pair[0].position >= pair[1].position {
            return Err(format!("{:?} lies behind {:?}", pair[1].position, pair[0].position));
        }
    }
    let seen: Vec<_> = events.iter().map(|event| (event.subject.clone(), event.version)).collect();
    let expected: Vec<_> = expected.iter().map(|(subject, last)| (subject.as_str(), *last)).collect();
    all_seen(&seen, &expected)
}

/// Sees that the lanes hold all that was told of, once, in order, and nothing beside them.
pub(crate) async fn hold_each_once_in_order(bus: &dyn Bus, stream: &str, expected: &[(String, i64)]) {
    each_once_in_order(&read(bus, stream, Scope::Published).await, expected).unwrap();
    assert_eq!(read(bus, stream, Scope::Repaired).await, []);
}

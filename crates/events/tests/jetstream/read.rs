//! Reading a lane.

use std::time::{Duration, Instant};

use meshwork_events::{Bus, Lane, ReadFrom, Scope};
use meshwork_testkit::Nats;

use crate::common::{event, events, lane, position, publish, read, repair};
use crate::server::Reached as _;

#[tokio::test]
async fn a_reader_begins_behind_a_position() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    // Whoever only reads declares nothing.
    let nothing = bus.reader(&lane(), ReadFrom::Start, Scope::All).await.err().unwrap();
    assert!(nothing.to_string().contains("the stream ORDERS isn't there"), "{nothing}");
    assert_eq!(bus.publisher(&lane()).await.unwrap().tail(), None);
    assert_eq!(read(&*bus, ReadFrom::Start, Scope::All).await, Vec::<i64>::new());
    assert_eq!(read(&*bus, ReadFrom::Behind(position(3)), Scope::All).await, Vec::<i64>::new());
    let other = Lane { partition: 1, ..lane() };
    for n in 1..=20 {
        publish(&*bus, &events([n * 10])).await;
        // What lies between belongs to others.
        let mut event = event(n);
        event.position.partition = 1;
        bus.publisher(&other).await.unwrap().publish(&[event]).await.unwrap();
    }
    repair(&*bus, &events([15])).await;
    for n in 0..=205 {
        let behind = read(&*bus, ReadFrom::Behind(position(n)), Scope::Published).await;
        assert_eq!(behind, (1..=20).map(|n| n * 10).filter(|other| *other > n).collect::<Vec<_>>(), "behind {n}");
    }
    assert_eq!(read(&*bus, ReadFrom::Behind(position(190)), Scope::All).await, [200, 15]);
    assert_eq!(read(&*bus, ReadFrom::Behind(position(0)), Scope::Repaired).await, [15]);
}

#[tokio::test]
async fn positions_within_a_commit_are_told_apart() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    let commit: Vec<_> = (0..4)
        .map(|index| {
            let mut event = event(7);
            (event.position.index, event.version) = (index, i64::from(index) + 1);
            event.id = format!("orders/7:{}", event.version);
            event
        })
        .collect();
    publish(&*bus, &commit).await;
    let behind = ReadFrom::Behind(commit[1].position);
    let mut reader = bus.reader(&lane(), behind, Scope::Published).await.unwrap();
    let rest = reader.next(10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(rest, commit[2..]);
}

#[tokio::test]
async fn a_reader_waits_for_what_comes() {
    let nats = Nats::start();
    let bus = nats.bus().await;
    publish(&*bus, &events(1..=5)).await;
    let mut reader = bus.reader(&lane(), ReadFrom::Now, Scope::All).await.unwrap();
    let begun = Instant::now();
    assert!(reader.next(10, Duration::from_millis(300)).await.unwrap().is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(280) && begun.elapsed() < Duration::from_secs(3));
    let later = {
        let bus = bus.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            publish(&*bus, &events(6..=8)).await;
        })
    };
    let came = reader.next(10, Duration::from_secs(10)).await.unwrap();
    later.await.unwrap();
    assert_eq!(came.first().map(|event| event.position.n), Some(6));
    assert!(begun.elapsed() < Duration::from_secs(5), "it waits for the first only: {:?}", begun.elapsed());
}

//! How long events are under way, at a steady rate, whether the bus keeps up or not: from when one is in the log until
//! a reader of its lane has it.

use std::time::Duration;

use hdrhistogram::Histogram;
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::{ReadFrom, Reader, Scope};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::log::{Log, event};
use crate::running::{PATIENCE, Running, STREAM};

/// How many events a second are added.
pub const PER_SECOND: u32 = 200;
/// How many events of each lane count.
const COUNTED: usize = 250;
/// How many before them don't, since everything is still cold.
const LEAD: usize = 25;
/// How many events are read at once, and for how long the first is waited for.
const PAGE: usize = 64;
const WAIT: Duration = Duration::from_secs(1);

/// What was measured, in milliseconds.
pub struct Lag {
    /// The median.
    pub p50_ms: f64,
    /// What one event in a hundred exceeds.
    pub p99_ms: f64,
}

/// Adds events to the log and reads them from the bus, where nothing else is under way.
pub async fn measure(running: &Running) -> Lag {
    let mut readers = JoinSet::new();
    for lane in running.bus.lanes(STREAM) {
        let reader = running.bus.reader(&lane, ReadFrom::Now, Scope::Published).await.unwrap();
        readers.spawn(arrivals(reader, lane.partition, running.log.last(lane.partition) + 1));
    }
    let added = add(&running.log).await;
    let arrived = timeout(PATIENCE, readers.join_all()).await;
    let mut lag: Histogram<u64> = Histogram::new(3).unwrap();
    for (partition, arrived) in arrived.unwrap_or_else(|_| panic!("not all events came within {PATIENCE:?}")) {
        for (added, arrived) in added[usize::from(partition)].iter().zip(arrived).skip(LEAD) {
            lag.record(u64::try_from(arrived.duration_since(*added).as_micros()).unwrap()).unwrap();
        }
    }
    let millis = |quantile| lag.value_at_quantile(quantile) as f64 / 1000.0;
    Lag { p50_ms: millis(0.5), p99_ms: millis(0.99) }
}

/// Adds events to the lanes in turn; returns when each was added, by lane.
async fn add(log: &Log) -> Vec<Vec<Instant>> {
    let mut added = vec![Vec::new(); usize::from(PARTITIONS)];
    let (every, mut due) = (Duration::from_secs(1) / PER_SECOND, Instant::now());
    for _ in 0..LEAD + COUNTED {
        for partition in 0..PARTITIONS {
            sleep_until(due).await;
            due += every;
            let event = event(partition, log.last(partition) + 1);
            added[usize::from(partition)].push(Instant::now());
            log.push(event);
        }
    }
    added
}

/// When each event of a lane came, from the one at a position on.
async fn arrivals(mut reader: Box<dyn Reader>, partition: u16, first: i64) -> (u16, Vec<Instant>) {
    let (mut arrived, mut next) = (Vec::new(), first);
    while arrived.len() < LEAD + COUNTED {
        let events = reader.next(PAGE, WAIT).await.unwrap();
        let now = Instant::now();
        for event in events {
            assert_eq!(event.position.n, next, "the lane has a gap, or another order");
            next += 1;
            arrived.push(now);
        }
    }
    (partition, arrived)
}

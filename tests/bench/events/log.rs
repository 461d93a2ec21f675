//! A log of events in memory, which costs the relay next to nothing to read.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::{Context, Envelope, Position, Source, SourceBatch};
use meshwork_eventstore::{Beats, Pulse};
use time::OffsetDateTime;

/// What an event carries.
static DATA: [u8; 300] = [7; 300];

/// A source whose positions are dense. It keeps its events.
pub struct Log {
    partitions: Vec<Mutex<Vec<Envelope>>>,
    pulse: Pulse,
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self { partitions: (0..PARTITIONS).map(|_| Mutex::default()).collect(), pulse: Pulse::new(PARTITIONS) }
    }

    /// The position of a partition's last event; 0 when it has none.
    pub fn last(&self, partition: u16) -> i64 {
        i64::try_from(self.partition(partition).len()).unwrap()
    }

    /// The events that would come next, so many of each partition.
    pub fn next(&self, each: usize) -> Vec<Envelope> {
        let each = i64::try_from(each).unwrap();
        let partition = |partition| {
            let last = self.last(partition);
            (last + 1..=last + each).map(move |n| event(partition, n))
        };
        (0..PARTITIONS).flat_map(partition).collect()
    }

    /// Adds events, and then tells of them.
    pub fn add(&self, events: Vec<Envelope>) {
        for event in events {
            self.partition(event.position.partition).push(event);
        }
        (0..PARTITIONS).for_each(|partition| self.pulse.beat(partition, ""));
    }

    /// Adds one event, and tells of it.
    pub fn push(&self, event: Envelope) {
        let partition = event.position.partition;
        self.partition(partition).push(event);
        self.pulse.beat(partition, "");
    }

    fn partition(&self, partition: u16) -> MutexGuard<'_, Vec<Envelope>> {
        self.partitions[usize::from(partition)].lock().unwrap()
    }
}

/// An event with a context as those have that a call has caused.
pub fn event(partition: u16, n: i64) -> Envelope {
    let subject = format!("orders/{partition}-{n:08}");
    Envelope {
        id: Envelope::id_of(&subject, 1),
        source: "bench".to_owned(),
        event_type: "order_created".to_owned(),
        schema_version: 1,
        version: 1,
        position: Position { partition, n, index: 0 },
        time: OffsetDateTime::now_utc(),
        context: Context {
            causation_id: format!("command-{partition}-{n:08}"),
            correlation_id: format!("command-{partition}-{n:08}"),
            trace_parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
            trace_state: String::new(),
            actor: "users/42".to_owned(),
        },
        data: Bytes::from_static(&DATA),
        subject,
    }
}

#[async_trait]
impl Source for Log {
    fn name(&self) -> &str {
        "bench"
    }

    fn partitions(&self) -> Range<u16> {
        0..PARTITIONS
    }

    async fn read(&self, partition: u16, n: i64, limit: usize) -> Result<SourceBatch, String> {
        let first = usize::try_from(n - 1).unwrap();
        let events: Vec<_> = self.partition(partition).iter().skip(first).take(limit).cloned().collect();
        let seen = events.last().map(|event| event.position.n);
        Ok(SourceBatch { events, seen, ..SourceBatch::default() })
    }

    fn beats(&self, partition: u16) -> Beats {
        self.pulse.beats(partition)
    }
}

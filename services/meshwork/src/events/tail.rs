//! Following one lane of the bus.

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::{Bus, BusError, Envelope, Lane, Position, ReadFrom, Scope};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::reading_status::ReadingStatus;
use crate::cli::Begin;

/// How many events are read at once.
const BATCH: usize = 8;
/// How long one read waits for an event.
const WAIT: Duration = Duration::from_secs(1);
/// How long to wait before a bus that has failed is asked again: the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Which events are printed.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Only those of this type.
    pub event_type: Option<String>,
    /// Only those of this aggregate.
    pub subject: Option<String>,
}

impl Wanted {
    fn admits(&self, event: &Envelope) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| *wanted == event.event_type)
            && self.subject.as_ref().is_none_or(|wanted| *wanted == event.subject)
    }
}

/// Follows a lane, over failures of its bus.
pub struct Tail {
    bus: Arc<dyn Bus>,
    lane: Lane,
    from: ReadFrom,
    /// The furthest position that was read.
    read: Option<Position>,
    /// Nothing that happened before it is wanted.
    since: Option<OffsetDateTime>,
    wanted: Arc<Wanted>,
    status: Arc<ReadingStatus>,
}

impl Tail {
    /// Follows `lane`, from its beginning or from now on.
    pub fn new(bus: Arc<dyn Bus>, lane: Lane, begin: Begin, wanted: Arc<Wanted>, status: Arc<ReadingStatus>) -> Self {
        let (from, since) = match begin {
            Begin::Start => (ReadFrom::Start, None),
            Begin::Now => (ReadFrom::Now, Some(OffsetDateTime::now_utc())),
        };
        Self { bus, lane, from, read: None, since, wanted, status }
    }

    /// Hands on what comes, with its stream, until nobody takes it any more.
    pub async fn run(mut self, queue: mpsc::Sender<(String, Envelope)>) {
        let mut pause = PAUSES.0;
        loop {
            match self.read(&queue, &mut pause).await {
                Ok(()) => return,
                Err(error) => self.status.fails(&self.lane, &error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            // Whatever was published meanwhile is still to come.
            self.from = self.read.map_or(ReadFrom::Start, ReadFrom::Behind);
        }
    }

    async fn read(&mut self, queue: &mpsc::Sender<(String, Envelope)>, pause: &mut Duration) -> Result<(), BusError> {
        let mut reader = self.bus.reader(&self.lane, self.from, Scope::All).await?;
        loop {
            let events = reader.next(BATCH, WAIT).await?;
            self.status.reads(&self.lane);
            *pause = PAUSES.0;
            for event in events {
                // One that was published late has an older position.
                self.read = self.read.max(Some(event.position));
                // With `Now` the bus has passed over what was there; after a failure nobody has.
                let is_old = self.from == ReadFrom::Start && self.since.is_some_and(|since| event.time < since);
                if !is_old && self.wanted.admits(&event) && queue.send((self.lane.stream.clone(), event)).await.is_err()
                {
                    return Ok(());
                }
            }
            if queue.is_closed() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use meshwork_events::testing::{lane, publish};
    use meshwork_events::{Context, SqliteBus};

    use super::*;

    fn event(subject: &str, version: i64, n: i64) -> Envelope {
        Envelope {
            id: Envelope::id_of(subject, version),
            source: "orders".to_owned(),
            event_type: "happened".to_owned(),
            schema_version: 1,
            subject: subject.to_owned(),
            version,
            position: Position { partition: 3, n, index: 0 },
            time: OffsetDateTime::UNIX_EPOCH,
            context: Context::default(),
            data: vec![1, 2, 3].into(),
        }
    }

    async fn next(events: &mut mpsc::Receiver<(String, Envelope)>) -> Envelope {
        let next = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
        next.expect("an event in time").unwrap().1
    }

    #[tokio::test]
    async fn a_tail_follows_a_lane_from_its_beginning_and_leaves_out_what_is_not_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path()).await.unwrap();
        let lane = lane("orders", 3);
        let three = [event("orders/1", 1, 1), event("orders/2", 1, 2), event("orders/1", 2, 3)];
        publish(bus.as_ref(), &lane, three.to_vec()).await;
        let wanted = Arc::new(Wanted { subject: Some("orders/1".to_owned()), ..Wanted::default() });
        let status = Arc::new(ReadingStatus::new(1, "the bus".to_owned()));
        let tail = Tail::new(bus.clone(), lane.clone(), Begin::Start, wanted, status);
        let (queue, mut events) = mpsc::channel(1);
        let running = tokio::spawn(tail.run(queue));
        assert_eq!(next(&mut events).await, three[0]);
        assert_eq!(next(&mut events).await, three[2]);
        let later = event("orders/1", 3, 5);
        publish(bus.as_ref(), &lane, vec![event("orders/3", 1, 4), later.clone()]).await;
        assert_eq!(next(&mut events).await.id, later.id);
        // It ends with whoever listens.
        drop(events);
        tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
    }

    #[test]
    fn a_type_and_an_aggregate_are_wanted_together() {
        let of = |event_type: Option<&str>, subject: Option<&str>| {
            let wanted = Wanted { event_type: event_type.map(str::to_owned), subject: subject.map(str::to_owned) };
            wanted.admits(&event("orders/1", 1, 1))
        };
        assert!(of(None, None) && of(Some("happened"), Some("orders/1")));
        assert!(!of(Some("else"), Some("orders/1")) && !of(Some("happened"), Some("orders/2")));
    }
}

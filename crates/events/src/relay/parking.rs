//! Aggregates of which nothing is published, since an event of theirs can't be: others go on (ES-7).

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_eventstore::{Context, UNREADABLE_STREAM};
use meshwork_sql::Error;

use super::reading::read;
use crate::bus::{Bus, BusError};
use crate::dead_letters::DeadLetter;
use crate::handler::{HandleError, Handler};
use crate::source::Damaged;
use crate::state::ConsumerState;
use crate::{Envelope, Position, Source};

/// The type of what stands for events that can't be read.
const UNREADABLE: &str = "unreadable";
/// How many parked aggregates are learnt of at once.
const AGGREGATES: usize = 1_024;

/// Where a relay parks what it can't publish.
#[derive(Clone)]
pub(super) struct Parking {
    pub(super) state: Arc<dyn ConsumerState>,
    stream: &'static str,
}

/// The aggregates of which nothing is published at present, each with the position from which on.
pub(super) type Blocked = HashMap<String, i64>;

impl Parking {
    pub(super) fn new(state: Arc<dyn ConsumerState>, stream: &'static str) -> Self {
        Self { state, stream }
    }

    /// The aggregates that are parked.
    pub(super) async fn blocked(&self) -> Result<Blocked, Error> {
        let (mut blocked, mut after) = (Blocked::new(), String::new());
        loop {
            let page = self.state.aggregates(Some(self.stream), &after, false, AGGREGATES).await?;
            let Some(last) = page.last() else { return Ok(blocked) };
            after.clone_from(last);
            for subject in page {
                if let Some(first) = self.state.first_of(&subject).await? {
                    blocked.insert(subject, first.event.position.n);
                }
            }
        }
    }

    /// Parks an aggregate from a commit on that can't be read.
    pub(super) async fn park_damaged(&self, source: &str, partition: u16, damaged: &Damaged) -> Result<(), Error> {
        let Damaged { subject, n, version, time, .. } = damaged;
        // Where not even the aggregate can be read, each commit has a letter of its own.
        let subject = match subject.as_str() {
            UNREADABLE_STREAM => format!("{UNREADABLE_STREAM} at {partition}/{n}"),
            subject => subject.to_owned(),
        };
        let version = version.unwrap_or(1);
        let event = Envelope {
            id: Envelope::id_of(&subject, version),
            source: source.to_owned(),
            event_type: UNREADABLE.to_owned(),
            schema_version: 1,
            subject,
            version,
            position: Position { partition, n: *n, index: 0 },
            time: *time,
            context: Context::default(),
            data: Bytes::new(),
        };
        self.park(&event, &unreadable(partition, damaged)).await
    }

    /// Parks an aggregate from an event on that can't be published.
    pub(super) async fn park(&self, event: &Envelope, reason: &str) -> Result<(), Error> {
        tracing::error!(
            stream = self.stream,
            event = event.id,
            partition = event.position.partition,
            n = event.position.n,
            reason,
            "an event can't be published; its aggregate waits, and others go on"
        );
        self.state.park(self.stream, event, reason).await
    }

    /// Queues an event behind what is parked of its aggregate; returns false when nothing is any more. One that is parked
    /// itself stays so.
    pub(super) async fn queue(&self, event: &Envelope) -> Result<bool, Error> {
        if self.state.queue(self.stream, event).await? {
            return Ok(true);
        }
        let letter = DeadLetter::id_of(self.state.consumer(), &event.subject, event.version);
        Ok(self.state.get(letter).await?.is_some())
    }
}

/// Publishes what was parked beside its lane, which has passed it.
pub(super) struct Republish {
    pub(super) source: Arc<dyn Source>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) stream: &'static str,
}

impl Republish {
    /// The events of a commit that could not be read when it was met.
    async fn read(&self, Position { partition, n, .. }: Position) -> Result<Vec<Envelope>, HandleError> {
        let batch = read(self.source.as_ref(), partition, n, 1).await.map_err(HandleError::Retry)?;
        if let Some(damaged) = batch.damaged.iter().find(|damaged| damaged.n == n) {
            return Err(HandleError::Poison(unreadable(partition, damaged)));
        }
        Ok(batch.events.into_iter().filter(|event| event.position.n == n).collect())
    }
}

fn unreadable(partition: u16, Damaged { n, problem, .. }: &Damaged) -> String {
    format!("the commit at {n} of partition {partition} can't be read: {problem}")
}

#[async_trait]
impl Handler for Republish {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        let events =
            if event.event_type == UNREADABLE { self.read(event.position).await? } else { vec![event.clone()] };
        let lanes = self.bus.lanes(self.stream);
        let lane = lanes.iter().find(|lane| lane.partition == event.position.partition);
        let lane = lane.ok_or_else(|| HandleError::Poison(format!("{} has no such partition", self.stream)))?;
        let mut publisher = self.bus.publisher(lane).await.map_err(failed)?;
        publisher.repair(&events).await.map_err(failed)
    }
}

fn failed(error: BusError) -> HandleError {
    match error {
        BusError::TooLarge { .. } => HandleError::Poison(error.to_string()),
        BusError::TailMoved | BusError::Full(_) | BusError::Unavailable(_) => HandleError::Retry(error.to_string()),
    }
}

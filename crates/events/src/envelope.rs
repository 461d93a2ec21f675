//! A domain event on its way.

use bytes::Bytes;
use meshwork_eventstore::Context;
use time::OffsetDateTime;

/// Where an event stands in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition of the source.
    pub partition: u16,
    /// The place of its commit in the partition: dense, in commit order, from 1.
    pub n: i64,
    /// Its place in the commit, from 0.
    pub index: u32,
}

/// A domain event on its way, with what CloudEvents calls its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// `<subject>:<version>`: the same event has the same id, however often it is published.
    pub id: String,
    /// The service where it happened, such as `orders`.
    pub source: String,
    /// The type, such as `order_created`.
    pub event_type: String,
    /// The version of the type's schema, from 1.
    pub schema_version: u16,
    /// The aggregate that it happened to, such as `orders/42`.
    pub subject: String,
    /// The aggregate's version after it: contiguous, from 1.
    pub version: i64,
    /// Where it stands in its source.
    pub position: Position,
    /// When it happened, by its source's clock.
    pub time: OffsetDateTime,
    /// Why it happened: causation, correlation, trace and actor.
    pub context: Context,
    /// The encoded event.
    pub data: Bytes,
}

impl Envelope {
    /// The id of an aggregate's event.
    pub fn id_of(subject: &str, version: i64) -> String {
        format!("{subject}:{version}")
    }

    /// What happens because of this event has this context: the same correlation, trace and actor, caused by this event.
    pub fn caused(&self) -> Context {
        let correlation_id = match self.context.correlation_id.as_str() {
            "" => self.id.clone(),
            id => id.to_owned(),
        };
        Context { causation_id: self.id.clone(), correlation_id, ..self.context.clone() }
    }
}

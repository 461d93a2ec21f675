//! The order as an aggregate of an event store.

use bytes::Bytes;
use meshwork_api::OrderName;
use meshwork_eventstore::{Aggregate, Event, EventType, NewEvent, Recorded, SnapshotState, written_version};

use super::codec;
use crate::domain::{Command, Order, OrderError, OrderEvent, decide, evolve};

impl Event for OrderEvent {
    const TYPES: &'static [EventType] = codec::TYPES;

    fn decode(event_type: &str, data: &[u8]) -> Result<Self, String> {
        codec::decode(event_type, data)
    }
}

impl Aggregate for Order {
    type Event = OrderEvent;
    type Command = Command;
    type Error = OrderError;

    fn decide(state: Option<&Self>, command: &Command) -> Result<Vec<OrderEvent>, OrderError> {
        decide(state, command)
    }

    fn evolve(state: Option<Self>, stream: &str, event: &Recorded<OrderEvent>) -> Option<Self> {
        // A stream of another name is no order's.
        let name: OrderName = stream.parse().ok()?;
        evolve(state, &name, &event.event, event.at)
    }

    /// What others hear of an event tells of the order too.
    fn encode_event(after: &Self, event: &Recorded<OrderEvent>) -> NewEvent {
        let message = codec::message(after, &event.event, event.at);
        let (event_type, data) =
            message.map_or((codec::REQUEST_CLAIMED, Bytes::new()), |message| codec::encode(&message));
        NewEvent { event_type, schema_version: written_version::<OrderEvent>(event_type), data }
    }
}

impl SnapshotState for Order {
    /// Another number whenever the order's JSON changes its shape; `tests/snapshot.json` shows it.
    const SCHEMA: &'static str = "order/1";

    fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    fn decode(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }
}

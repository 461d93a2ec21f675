//! The port: what every event bus does.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_eventstore::Beats;
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
    /// The aggregate that it happened to, such as `orders/42`.
    pub subject: String,
    /// The aggregate's version after it: contiguous, from 1.
    pub version: i64,
    /// Where it stands in its source.
    pub position: Position,
    /// When it happened, by its source's clock.
    pub time: OffsetDateTime,
    /// The encoded event.
    pub data: Bytes,
}

impl Envelope {
    /// The id of an aggregate's event.
    pub fn id_of(subject: &str, version: i64) -> String {
        format!("{subject}:{version}")
    }
}

/// The bus has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Somebody else has published first: read the tail and go on from there (NT-2).
    #[error("the tail of the stream has moved")]
    TailMoved,
    /// The bus can't be reached, or refuses.
    #[error("the event bus is unavailable: {0}")]
    Unavailable(String),
}

impl From<meshwork_sql::Error> for BusError {
    fn from(error: meshwork_sql::Error) -> Self {
        BusError::Unavailable(error.to_string())
    }
}

/// A durable log of events, by stream and partition.
///
/// Consumers are known by name; for each the bus keeps how far it has come in each partition.
#[async_trait]
pub trait EventBus: Send + Sync + 'static {
    /// The last event of a partition: where a relay goes on (NT-4).
    ///
    /// # Errors
    /// When the bus fails.
    async fn tail(&self, stream: &str, partition: u16) -> Result<Option<Envelope>, BusError>;

    /// Publishes events of one partition, all or none, if the tail is still `expected` (NT-2).
    ///
    /// # Errors
    /// [`BusError::TailMoved`] when it isn't; else when the bus fails.
    async fn publish(
        &self,
        stream: &str,
        partition: u16,
        expected: Option<Position>,
        events: Vec<Envelope>,
    ) -> Result<(), BusError>;

    /// Makes the consumer known, so that the bus keeps for it what comes from now on, and what it still has.
    ///
    /// # Errors
    /// When the bus fails.
    async fn register(&self, consumer: &str, stream: &str) -> Result<(), BusError>;

    /// At most `limit` events that the consumer hasn't acknowledged yet, in order.
    ///
    /// # Errors
    /// When the bus fails.
    async fn fetch(
        &self,
        consumer: &str,
        stream: &str,
        partition: u16,
        limit: usize,
    ) -> Result<Vec<Envelope>, BusError>;

    /// Acknowledges all events of the partition up to and including `position`.
    ///
    /// # Errors
    /// When the bus fails.
    async fn acknowledge(&self, consumer: &str, stream: &str, position: Position) -> Result<(), BusError>;

    /// Up to where the consumer has acknowledged a partition; `None` when it hasn't.
    ///
    /// # Errors
    /// When the bus fails.
    async fn acknowledged(&self, consumer: &str, stream: &str, partition: u16) -> Result<Option<Position>, BusError>;

    /// The event at a position of a stream; `None` when there is none, or none any more.
    ///
    /// # Errors
    /// When the bus fails.
    async fn event_at(&self, stream: &str, position: Position) -> Result<Option<Envelope>, BusError>;

    /// Takes acknowledgements back: what lies behind `position` is fetched again, as far as the bus still has it. Returns
    /// whether there were any.
    ///
    /// # Errors
    /// When the bus fails.
    async fn rewind(&self, consumer: &str, stream: &str, position: Position) -> Result<bool, BusError>;

    /// The events that the release before has parked here in a partition, in order, each with its reason: parked events lie
    /// in the consumer's database by now ([`ConsumerState`](crate::ConsumerState)), where the consumer takes these.
    ///
    /// # Errors
    /// When the bus fails.
    async fn parked(&self, consumer: &str, stream: &str, partition: u16) -> Result<Vec<(Envelope, String)>, BusError>;

    /// Forgets that an event was parked here: its consumer has it.
    ///
    /// # Errors
    /// When the bus fails.
    async fn unpark(&self, consumer: &str, stream: &str, position: Position) -> Result<(), BusError>;

    /// Whether the bus does its work, for a check.
    ///
    /// # Errors
    /// When the bus fails.
    async fn ping(&self) -> Result<(), BusError> {
        self.tail("", 0).await.map(drop)
    }

    /// For how long messages stay at least.
    fn retention(&self) -> Duration;

    /// How many partitions a stream has.
    fn partitions(&self) -> u16;

    /// Hints that a partition has new events; subscribe before fetching.
    fn beats(&self, stream: &str, partition: u16) -> Beats;
}

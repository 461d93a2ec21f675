//! The port: what every event bus does.
//!
//! A stream's events lie in lanes, one for each partition of its source. A source that has shards numbers its partitions
//! through: shard s of outboxes has the partitions 4s to 4s + 3. A lane is ordered; nothing is ordered across lanes. One [`Publisher`] writes a lane, whoever else tries; a consumer's lane has a
//! [`Subscription`], through which each event is handled once by one of the consumer's instances, and again only where it is
//! not known whether it was.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::outbox::PARTITIONS;
use crate::{Envelope, Position};

/// How many bytes an event may have on a bus, with its attributes.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// An ordered part of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The stream, such as `orders`: lower-case letters, digits and hyphens.
    pub stream: String,
    /// The partition of the source, numbered through its shards where it has some.
    pub partition: u16,
}

/// The lanes of a stream, which are [`PARTITIONS`] unless `counts` has another number for it.
pub(crate) fn lanes_of(stream: &str, counts: &HashMap<String, u16>) -> Vec<Lane> {
    let count = counts.get(stream).copied().unwrap_or(PARTITIONS);
    (0..count).map(|partition| Lane { stream: stream.to_owned(), partition }).collect()
}

impl std::fmt::Display for Lane {
    /// Such as `orders.p03`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.p{:02}", self.stream, self.partition)
    }
}

/// The bus has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Somebody else has published first: open the publisher anew, and go on behind its tail (NT-2).
    #[error("the tail of the lane has moved")]
    TailMoved,
    /// The event will never be taken.
    #[error("the event {id} has {bytes} bytes, and the bus takes {limit}")]
    TooLarge {
        /// The event's id.
        id: String,
        /// How large it is with its attributes.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// The stream has no room until older events have aged, or it is given more.
    #[error("the stream is full: {0}")]
    Full(String),
    /// The bus can't be reached, or refuses, or has not answered in time: what was asked for may have been done.
    #[error("the event bus is unavailable: {0}")]
    Unavailable(String),
}

impl From<meshwork_sql::Error> for BusError {
    fn from(error: meshwork_sql::Error) -> Self {
        BusError::Unavailable(error.to_string())
    }
}

/// Where a consumer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Behind this position, which its own database names: what the bus takes for done behind it is delivered again, since the
    /// database was put back to an older copy.
    Behind(Position),
    /// From the lane's first event: its own database knows of none.
    FromStart,
    /// Where the bus says: its own database can't be asked.
    AsAcknowledged,
}

/// From where a lane is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first event that is still there.
    Start,
    /// The first event behind a position.
    Behind(Position),
    /// What is published from now on.
    Now,
}

/// Which events of a lane are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that were published in order.
    Published,
    /// Those that were published beside them ([`Publisher::repair`]).
    Repaired,
    /// Both, as consumers get them: a repaired one comes when it was repaired.
    All,
}

/// A durable log of events, by lanes.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The lanes of a stream, by partition from 0. What opens a bus says how many there are of a stream whose source has shards.
    fn lanes(&self, stream: &str) -> Vec<Lane>;

    /// Opens a lane for publishing, having read its tail from where it is decided. An earlier publisher of the lane is fenced
    /// as soon as this one publishes.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn publisher(&self, lane: &Lane) -> Result<Box<dyn Publisher>, BusError>;

    /// Those of `streams` that nobody has made yet, where somebody has to. By default none, if the bus can be reached at all.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn missing(&self, streams: &[&str]) -> Result<Vec<String>, BusError> {
        let _ = streams;
        self.ping().await.map(|()| Vec::new())
    }

    /// Takes part in handling a lane's events for a consumer, known by its name. What an instance that has ended held comes
    /// again at once.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn subscribe(&self, consumer: &str, lane: &Lane, resume: Resume) -> Result<Box<dyn Subscription>, BusError>;

    /// Reads a lane, which changes nothing for anybody.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn reader(&self, lane: &Lane, from: ReadFrom, scope: Scope) -> Result<Box<dyn Reader>, BusError>;

    /// Whether the bus does its work, for a check.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn ping(&self) -> Result<(), BusError>;

    /// For how long events stay at least.
    fn retention(&self) -> Duration;
}

/// Publishes a lane's events in order (NT-1), fenced by the lane's tail (NT-2). After an error it is opened anew.
#[async_trait]
pub trait Publisher: Send {
    /// The lane's last event, as far as this publisher knows; `None` in an empty lane.
    fn tail(&self) -> Option<&Envelope>;

    /// Publishes events behind the tail, in order. Without an error all are durable; with one it may be the first of them.
    ///
    /// # Errors
    /// See [`BusError`].
    async fn publish(&mut self, events: &[Envelope]) -> Result<(), BusError>;

    /// Publishes events that the lane has passed already, beside it: the tail stays where it is (NT-4). Consumers know them
    /// by their aggregate and version.
    ///
    /// # Errors
    /// See [`BusError`].
    async fn repair(&mut self, events: &[Envelope]) -> Result<(), BusError>;

    /// A number that changes when the lane's stream has lost events before their time, though not its tail. What it lacks is
    /// found by reading it.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn losses(&mut self) -> Result<u64, BusError>;
}

/// An event that is handed over to be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event: Envelope,
    /// How often it was handed over with this time, from 1, as far as the bus knows.
    pub attempt: u32,
    /// Its place among what this subscription has handed over: rising.
    pub place: u64,
}

/// What a subscription has handed over at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The deliveries, in order.
    pub deliveries: Vec<Delivery>,
    /// Whether nothing was waiting behind them.
    pub at_end: bool,
}

/// A consumer's part in handling a lane. What was handed over and isn't done comes again, here or elsewhere: when the
/// subscription is dropped or lost, or when nothing is heard for the [`patience`](Self::patience) of the bus.
///
/// After an error it is opened anew.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for at least one delivery, for about `wait`; returns at most `max`.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Batch, BusError>;

    /// Everything that was handed over and isn't done is still being worked at.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn working(&mut self) -> Result<(), BusError>;

    /// What was handed over up to and including this place is done, and the bus has noted it.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]: it may come again.
    async fn done_through(&mut self, place: u64) -> Result<(), BusError>;

    /// Gives back what was handed over and isn't done: it comes again after `delay`, here or elsewhere.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    async fn later(&mut self, delay: Duration) -> Result<(), BusError>;

    /// For how long the bus waits for a word about what it has handed over.
    fn patience(&self) -> Duration;
}

/// Reads a lane.
#[async_trait]
pub trait Reader: Send {
    /// The next events, at most `max`; waits for the first one for at most `wait`, so that none means that the end was reached.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; it is opened anew then.
    async fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Envelope>, BusError>;
}

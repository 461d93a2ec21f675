//! The orders' histories in an event store, of whatever kind.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_api::OrderName;
use meshwork_chassis::request::RequestKey;
use meshwork_eventstore::{
    Append as AppendCommit, AppendError as CommitError, Beats, Commit, Context, EventStore, Expected, NewEvent,
    Repository, SnapshotStore, StoreError as EventStoreError, partition_of, written_version,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::codec;
use crate::domain::{Order, OrderEvent, evolve};
use crate::ports::{
    Append, AppendError, Appended, Changes, Claim, OrderStore, Position, Recorded, Settled, StoreError,
};

/// The types of the events in a request's stream. They are ours alone: nothing is published of them.
const REQUEST_CLAIMED: &str = "request_claimed";
const REQUEST_SETTLED: &str = "request_settled";
/// The ids of the commands on a request's stream.
const CLAIM: &str = "claim";
const SETTLE: &str = "settle";
/// The streams of requests are in this space (UUIDv5).
const REQUEST_IDS: Uuid = Uuid::from_u128(0x2b6f_4a80_91d7_4c35_8e0a_d9c3_7f52_1e64);

/// Whether an event of this type is published to other services.
pub fn is_public(event_type: &str) -> bool {
    !matches!(event_type, REQUEST_CLAIMED | REQUEST_SETTLED)
}

/// The orders' histories in an event store: a stream per order, by its name.
///
/// A request's id is claimed in a stream of its own, whose first commit keeps the hash of the request's body. So an id
/// can't come with another body even where that would be about another order. A second commit follows when the request
/// finds nothing left to do: it keeps the order's version, with which the request is answered from then on.
pub struct EventOrderStore {
    store: Arc<dyn EventStore>,
    orders: Repository<Order>,
}

impl EventOrderStore {
    /// Histories in `store`.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { orders: Repository::new(store.clone()), store }
    }

    /// Keeps snapshots of orders with many events in `snapshots`.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Arc<dyn SnapshotStore>) -> Self {
        Self { orders: self.orders.with_snapshots(snapshots), ..self }
    }
}

impl From<EventStoreError> for StoreError {
    fn from(error: EventStoreError) -> Self {
        let text = error.to_string();
        match error {
            EventStoreError::Unavailable(_) => StoreError::Unavailable(text),
            EventStoreError::OutcomeUnknown(_) => StoreError::OutcomeUnknown(text),
            EventStoreError::Damaged { .. } => StoreError::Damaged(text),
        }
    }
}

/// The events of a commit of an order.
pub(super) fn recorded(commit: &Commit) -> Result<Vec<Recorded>, StoreError> {
    Ok(meshwork_eventstore::recorded(commit)?.into_iter().map(from_store).collect())
}

fn from_store(recorded: meshwork_eventstore::Recorded<OrderEvent>) -> Recorded {
    let meshwork_eventstore::Recorded { version, at, event } = recorded;
    Recorded { version, at, event }
}

fn request_stream(request: &RequestKey) -> String {
    let key = format!("{}/{}/{}", request.principal, request.method, request.id);
    format!("requests/{}", Uuid::new_v5(&REQUEST_IDS, key.as_bytes()))
}

/// The order's version that a request was settled at.
fn settled_version(commit: &Commit) -> Result<i64, StoreError> {
    let version = std::str::from_utf8(&commit.result).ok().and_then(|text| text.parse().ok());
    version.ok_or_else(|| StoreError::Damaged(format!("{} is settled at no version", commit.stream)))
}

#[async_trait]
impl OrderStore for EventOrderStore {
    async fn history(&self, order: &OrderName, after: i64) -> Result<Vec<Recorded>, StoreError> {
        let history = self.orders.history(&order.to_string(), after).await?;
        Ok(history.into_iter().map(from_store).collect())
    }

    async fn load(&self, order: &OrderName) -> Result<Option<Order>, StoreError> {
        Ok(self.orders.load(&order.to_string()).await?.state)
    }

    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let Append { order: name, before: mut order, command_id, events, at } = append;
        let expected = order.as_ref().map_or(Expected::NoStream, |order| Expected::Exact(order.version));
        let mut encoded = Vec::with_capacity(events.len());
        for event in &events {
            order = evolve(order, &name, event, at);
            let order = order.as_ref().ok_or(AppendError::Conflict)?;
            let (event_type, data) = codec::encode(&codec::message(order, event, at));
            encoded.push(NewEvent { event_type, schema_version: written_version::<OrderEvent>(event_type), data });
        }
        let commit = AppendCommit {
            stream: name.to_string(),
            expected,
            command_id,
            // The request's body is held against its claim; a command of the saga has no body beside its id.
            command_hash: [0; 32],
            events: encoded,
            // The answer is the order at the commit's version, which its history gives.
            result: Bytes::new(),
            at,
            context: Context::current(),
        };
        match self.store.append(commit).await {
            Ok(appended) => Ok(Appended {
                version: appended.commit.version(),
                position: appended.commit.position,
                replayed: appended.replayed,
            }),
            Err(CommitError::VersionConflict { .. }) => Err(AppendError::Conflict),
            Err(CommitError::Store(error)) => Err(AppendError::Store(error.into())),
            Err(error @ (CommitError::CommandReused { .. } | CommitError::Size | CommitError::Unnamed)) => {
                Err(AppendError::Store(StoreError::Damaged(error.to_string())))
            }
        }
    }

    async fn find(&self, order: &OrderName, command_id: &str) -> Result<Option<i64>, StoreError> {
        Ok(self.store.find(&order.to_string(), command_id).await?.map(|commit| commit.version()))
    }

    async fn position(&self, order: &OrderName, version: i64) -> Result<Option<Position>, StoreError> {
        let commits = self.store.read(&order.to_string(), version - 1).await?;
        Ok(commits.first().map(|commit| commit.position))
    }

    async fn look_up(&self, request: &RequestKey) -> Result<Claim, StoreError> {
        let commits = self.store.read(&request_stream(request), 0).await?;
        let made_by = |command_id| commits.iter().find(|commit| commit.command_id == command_id);
        match made_by(CLAIM) {
            None => Ok(Claim::Free),
            Some(claim) if claim.command_hash != request.hash => Ok(Claim::Reused),
            Some(_) => Ok(Claim::Ours { settled: made_by(SETTLE).map(settled_version).transpose()? }),
        }
    }

    async fn claim(&self, request: &RequestKey, at: OffsetDateTime) -> Result<Claim, StoreError> {
        let claim = AppendCommit {
            stream: request_stream(request),
            expected: Expected::NoStream,
            command_id: CLAIM.to_owned(),
            command_hash: request.hash,
            events: vec![NewEvent { event_type: REQUEST_CLAIMED, schema_version: 1, data: Bytes::new() }],
            result: Bytes::new(),
            at,
            context: Context::current(),
        };
        match self.store.append(claim).await {
            Ok(_) => Ok(Claim::Ours { settled: None }),
            Err(CommitError::CommandReused { .. } | CommitError::VersionConflict { .. }) => Ok(Claim::Reused),
            Err(CommitError::Store(error)) => Err(error.into()),
            Err(error @ (CommitError::Size | CommitError::Unnamed)) => Err(StoreError::Damaged(error.to_string())),
        }
    }

    async fn settle(&self, request: &RequestKey, version: i64, at: OffsetDateTime) -> Result<Settled, StoreError> {
        let settle = AppendCommit {
            stream: request_stream(request),
            // Behind the claim, which is the stream's first event.
            expected: Expected::Exact(1),
            command_id: SETTLE.to_owned(),
            command_hash: request.hash,
            events: vec![NewEvent { event_type: REQUEST_SETTLED, schema_version: 1, data: Bytes::new() }],
            result: version.to_string().into(),
            at,
            context: Context::current(),
        };
        match self.store.append(settle).await {
            Ok(appended) => Ok(Settled { version: settled_version(&appended.commit)?, replayed: appended.replayed }),
            Err(CommitError::Store(error)) => Err(error.into()),
            Err(error) => Err(StoreError::Damaged(error.to_string())),
        }
    }

    fn changes(&self, order: &OrderName) -> Box<dyn Changes> {
        let stream = order.to_string();
        let beats = self.store.beats(partition_of(&stream, self.store.partitions()));
        Box::new(StreamChanges { stream, beats })
    }
}

struct StreamChanges {
    stream: String,
    beats: Beats,
}

#[async_trait]
impl Changes for StreamChanges {
    async fn next(&mut self, at_most: Duration) {
        self.beats.of(&self.stream, at_most).await;
    }
}

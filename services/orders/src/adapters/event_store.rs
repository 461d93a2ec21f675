//! The orders' histories in an event store, of whatever kind.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_api::OrderName;
use meshwork_chassis::request::RequestKey;
use meshwork_eventstore::{
    Aggregate, Append, AppendError, Beats, CommandId, Commit, Context, EventStore, ExecuteError as CommandError,
    Executed as CommandDone, Expected, NewEvent, Repository, SnapshotStore, StoreError as EventStoreError,
    partition_of,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::codec::REQUEST_CLAIMED;
use crate::domain::{Command, Order, OrderError};
use crate::ports::{
    Actor, Changes, Claim, CommandKey, ExecuteError, Executed, OrderStore, Position, Recorded, Settled, StoreError,
};

/// The type of the event that ends a request's stream. It is ours alone, as the claim is: nothing is published of them.
const REQUEST_SETTLED: &str = "request_settled";
/// The ids of the commands on a request's stream.
const CLAIM: &str = "claim";
const SETTLE: &str = "settle";
/// How the ids of the watchdog's commands begin.
const WATCHDOG: &str = "watchdog/";
/// How the ids of commands begin that are events of the inventory: they are named after its reservations.
const INVENTORY: &str = "reservations/";
/// The streams of requests are in this space (UUIDv5).
const REQUEST_IDS: Uuid = Uuid::from_u128(0x2b6f_4a80_91d7_4c35_8e0a_d9c3_7f52_1e64);

/// Whether an event of this type is published to other services.
pub fn is_public(event_type: &str) -> bool {
    !matches!(event_type, REQUEST_CLAIMED | REQUEST_SETTLED)
}

/// The orders' histories in an event store: a stream per order, by its name.
///
/// The id of a request that changes an order is claimed in a stream of its own: the first commit keeps the hash of the request's
/// body. So an id can't come with another body even where that would be about another order. A second commit follows when the
/// request finds nothing left to do: it keeps the order's version, with which the request is answered from then on.
///
/// The id of a request that places an order is claimed in the stream of the order that is named after it: by that order's first
/// commit or, where the request's caller has chosen another name, by a commit of the same command that holds the claim alone. So
/// the two meet, and one of them is refused. Such a stream is no order's. Releases before have claimed those ids too in streams
/// of their own, which are still looked at.
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

    /// The orders as aggregates of their store.
    pub fn orders(&self) -> &Repository<Order> {
        &self.orders
    }

    /// What has become of a command on the order of a stream.
    async fn outcome(
        &self,
        stream: &str,
        key: &CommandKey,
        done: Result<CommandDone<Order>, CommandError<OrderError>>,
    ) -> Result<Executed, ExecuteError> {
        match done {
            Ok(done) => executed(done),
            Err(CommandError::CommandReused) => self.done_without_hash(stream, key).await,
            Err(CommandError::Refused(refused)) => Err(ExecuteError::Refused(refused)),
            Err(CommandError::VersionMismatch { .. }) => Err(ExecuteError::VersionMismatch),
            Err(CommandError::Contended) => Err(ExecuteError::Contended),
            Err(CommandError::Store(error)) => Err(ExecuteError::Store(error.into())),
            Err(error @ (CommandError::Size | CommandError::Unnamed)) => {
                Err(ExecuteError::Store(StoreError::Damaged(error.to_string())))
            }
        }
    }

    /// What a command was answered that is stored with another hash, if one of the two is [`CommandKey::NO_HASH`]. Where it
    /// comes from a request, the first release has noted the hash of the body with the claim of the request's id, and the
    /// claim has to be of the same body.
    async fn done_without_hash(&self, stream: &str, key: &CommandKey) -> Result<Executed, ExecuteError> {
        let found = self.store.find(stream, &key.id).await.map_err(StoreError::from)?;
        let is_same = |commit: &Commit| [commit.command_hash, key.hash].contains(&CommandKey::NO_HASH);
        let Some(commit) = found.filter(is_same) else {
            return Err(ExecuteError::Reused);
        };
        if let Some(request) = &key.request
            && self.look_up(request).await? == Claim::Reused
        {
            return Err(ExecuteError::Reused);
        }
        let after = self.orders.load_at(stream, commit.version()).await.map_err(StoreError::from)?;
        executed(CommandDone { after, position: Some(commit.position), replayed: true })
    }
}

fn executed(done: CommandDone<Order>) -> Result<Executed, ExecuteError> {
    let CommandDone { after, position, replayed } = done;
    let order = after.state.ok_or(ExecuteError::Refused(OrderError::Missing))?;
    Ok(Executed { order, position, replayed })
}

fn command_id(key: &CommandKey) -> CommandId {
    CommandId { id: key.id.clone(), hash: key.hash }
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
    let actor = actor(commit);
    let recorded = meshwork_eventstore::recorded(commit)?.into_iter();
    Ok(recorded
        .map(|meshwork_eventstore::Recorded { version, at, event }| Recorded {
            version,
            at,
            event,
            actor: actor.clone(),
        })
        .collect())
}

/// Who has made a commit: the watchdog's commands and those that are events of the inventory are told by their ids,
/// whoever the order is of on whose behalf they act; all others come from callers.
fn actor(commit: &Commit) -> Option<Actor> {
    if commit.command_id.starts_with(WATCHDOG) {
        return Some(Actor::Watchdog);
    }
    if commit.command_id.starts_with(INVENTORY) {
        return Some(Actor::Inventory);
    }
    commit.context.actor.parse().ok().map(Actor::Caller)
}

fn request_stream(request: &RequestKey) -> String {
    let key = format!("{}/{}/{}", request.principal, request.method, request.id);
    format!("requests/{}", Uuid::new_v5(&REQUEST_IDS, key.as_bytes()))
}

/// The commit that claims a request's id in a stream.
fn claim_in(stream: String, id: CommandId, at: OffsetDateTime) -> Append {
    Append {
        stream,
        expected: Expected::NoStream,
        command_id: id.id,
        command_hash: id.hash,
        events: vec![NewEvent { event_type: REQUEST_CLAIMED, schema_version: 1, data: Bytes::new() }],
        result: Bytes::new(),
        at,
        context: Context::current(),
    }
}

/// The order's version that a request was settled at.
fn settled_version(commit: &Commit) -> Result<i64, StoreError> {
    let version = std::str::from_utf8(&commit.result).ok().and_then(|text| text.parse().ok());
    version.ok_or_else(|| StoreError::Damaged(format!("{} is settled at no version", commit.stream)))
}

#[async_trait]
impl OrderStore for EventOrderStore {
    async fn history(&self, order: &OrderName, after: i64) -> Result<Vec<Recorded>, StoreError> {
        let mut history = Vec::new();
        for commit in self.store.read(&order.to_string(), after).await? {
            history.extend(recorded(&commit)?.into_iter().filter(|recorded| recorded.version > after));
        }
        Ok(history)
    }

    async fn load(&self, order: &OrderName) -> Result<Option<Order>, StoreError> {
        Ok(self.orders.load(&order.to_string()).await?.state)
    }

    async fn order_at(&self, order: &OrderName, version: i64) -> Result<Option<(Order, Position)>, StoreError> {
        let stream = order.to_string();
        let mut state = None;
        for commit in self.store.read(&stream, 0).await? {
            for recorded in meshwork_eventstore::recorded(&commit)? {
                state = <Order as Aggregate>::evolve(state, &stream, &recorded);
                if recorded.version == version {
                    return Ok(state.map(|order| (order, commit.position)));
                }
            }
        }
        Ok(None)
    }

    async fn create(
        &self,
        order: &OrderName,
        command: &Command,
        key: &CommandKey,
        at: OffsetDateTime,
    ) -> Result<Executed, ExecuteError> {
        let stream = order.to_string();
        let done = self.orders.create(&stream, command, command_id(key), at).await;
        match self.outcome(&stream, key, done).await {
            // A request has claimed the name.
            Err(ExecuteError::VersionMismatch) => Err(ExecuteError::Refused(OrderError::Exists)),
            outcome => outcome,
        }
    }

    async fn is_taken(&self, order: &OrderName) -> Result<bool, StoreError> {
        Ok(self.orders.load(&order.to_string()).await?.version > 0)
    }

    async fn look_up_placement(&self, order: &OrderName, key: &CommandKey) -> Result<Claim, StoreError> {
        let found = self.store.find(&order.to_string(), &key.id).await?;
        Ok(match found {
            None => Claim::Free,
            Some(commit) if commit.command_hash == key.hash => Claim::Ours { settled: None },
            Some(_) => Claim::Reused,
        })
    }

    async fn claim_placement(
        &self,
        order: &OrderName,
        key: &CommandKey,
        at: OffsetDateTime,
    ) -> Result<(), ExecuteError> {
        match self.store.append(claim_in(order.to_string(), command_id(key), at)).await {
            Ok(_) => Ok(()),
            Err(AppendError::CommandReused { .. }) => Err(ExecuteError::Reused),
            // It is the name of somebody's order, or claimed by another request.
            Err(AppendError::VersionConflict { .. }) => Err(ExecuteError::Refused(OrderError::Exists)),
            Err(AppendError::Store(error)) => Err(StoreError::from(error).into()),
            Err(error @ (AppendError::Size | AppendError::Unnamed)) => {
                Err(StoreError::Damaged(error.to_string()).into())
            }
        }
    }

    async fn execute(
        &self,
        order: &OrderName,
        command: &Command,
        expected: Option<i64>,
        key: &CommandKey,
        at: OffsetDateTime,
    ) -> Result<Executed, ExecuteError> {
        let stream = order.to_string();
        let done = self.orders.execute(&stream, command, command_id(key), at, expected).await;
        self.outcome(&stream, key, done).await
    }

    async fn answered(&self, order: &OrderName, key: &CommandKey) -> Result<Option<Executed>, ExecuteError> {
        let stream = order.to_string();
        match self.orders.answered(&stream, &command_id(key)).await.transpose() {
            Some(done) => self.outcome(&stream, key, done).await.map(Some),
            None => Ok(None),
        }
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
        let id = CommandId { id: CLAIM.to_owned(), hash: request.hash };
        match self.store.append(claim_in(request_stream(request), id, at)).await {
            Ok(_) => Ok(Claim::Ours { settled: None }),
            Err(AppendError::CommandReused { .. } | AppendError::VersionConflict { .. }) => Ok(Claim::Reused),
            Err(AppendError::Store(error)) => Err(error.into()),
            Err(error @ (AppendError::Size | AppendError::Unnamed)) => Err(StoreError::Damaged(error.to_string())),
        }
    }

    async fn settle(&self, request: &RequestKey, version: i64, at: OffsetDateTime) -> Result<Settled, StoreError> {
        let settle = Append {
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
            Err(AppendError::Store(error)) => Err(error.into()),
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

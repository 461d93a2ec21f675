//! Bugs that tests plant between the service and its event store. A release has none of this.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_api::meshwork::events::v1::OrderShipped;
use meshwork_chassis::ablation::{IN_ORDERS, is_planted};
use meshwork_eventstore::{
    Append, AppendError, Appended, Beats, Commit, Context, EventStore, Expected, NewEvent, StoreError,
};
use prost::Message as _;
use time::OffsetDateTime;

/// How long a slow cancellation waits between its decision and its commit for the order to be shipped, at most.
const SLOW: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// The event store with what is planted in it.
pub fn store(store: Arc<dyn EventStore>) -> Arc<dyn EventStore> {
    let is_any = IN_ORDERS.into_iter().chain(["slow_cancels"]).any(is_planted);
    if is_any { Arc::new(Planted(store)) } else { store }
}

/// Whether the lists pass over a commit.
pub fn is_skipped(commit: &Commit) -> bool {
    is_planted("projection_skips") && commit.events.iter().any(|event| event.event_type == "order_allocated")
}

struct Planted(Arc<dyn EventStore>);

impl Planted {
    /// Whether this has happened to an order.
    async fn has(&self, stream: &str, event_type: &str) -> Result<bool, StoreError> {
        let commits = self.0.read(stream, 0).await?;
        Ok(commits.iter().flat_map(|commit| &commit.events).any(|event| event.event_type == event_type))
    }

    /// Waits until an order is shipped, within a bound.
    async fn shipped(&self, stream: &str) -> Result<(), StoreError> {
        let until = Instant::now() + SLOW;
        while Instant::now() < until && !self.has(stream, "order_shipped").await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn tells(append: &Append, event_type: &str) -> bool {
    append.events.iter().any(|event| event.event_type == event_type)
}

/// The commit that ships an order, whatever its state.
fn shipment(stream: String, at: OffsetDateTime) -> Append {
    let shipped = OrderShipped { order: stream.clone(), tracking_number: "T-0".to_owned(), ..OrderShipped::default() };
    Append {
        stream,
        expected: Expected::Any,
        command_id: "planted/ship".to_owned(),
        command_hash: [0; 32],
        events: vec![NewEvent { event_type: "order_shipped", schema_version: 1, data: shipped.encode_to_vec().into() }],
        result: Bytes::new(),
        at,
        context: Context::current(),
    }
}

#[async_trait]
impl EventStore for Planted {
    async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        if is_planted("slow_cancels") && tells(&append, "order_cancelled") {
            tracing::warn!(order = append.stream, "planted: a cancellation is slow");
            self.shipped(&append.stream).await?;
        }
        if is_planted("watchdog_only_pending")
            && tells(&append, "reservation_requested")
            && self.has(&append.stream, "order_confirmed").await?
        {
            return Err(StoreError::Unavailable("planted: only orders that are pending ask again".to_owned()).into());
        }
        if is_planted("no_version_check") && matches!(append.expected, Expected::Exact(_)) {
            append.expected = Expected::Any;
        }
        let ships = is_planted("ship_before_allocation") && tells(&append, "order_confirmed");
        let (stream, at) = (append.stream.clone(), append.at);
        let appended = self.0.append(append).await?;
        if ships {
            self.0.append(shipment(stream, at)).await?;
        }
        Ok(appended)
    }

    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError> {
        self.0.find(stream, command_id).await
    }

    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, StoreError> {
        self.0.read(stream, after).await
    }

    async fn read_behind(&self, stream: &str, end: i64) -> Result<Vec<Commit>, StoreError> {
        self.0.read_behind(stream, end).await
    }

    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError> {
        self.0.read_partition(partition, after, limit).await
    }

    async fn head(&self, partition: u16) -> Result<i64, StoreError> {
        self.0.head(partition).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }

    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn beats(&self, partition: u16) -> Beats {
        self.0.beats(partition)
    }
}

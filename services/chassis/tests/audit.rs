//! What a service tells those who audit it: all of it, in pages, and nothing else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::admin::v1 as pb;
use meshwork_api::meshwork::admin::v1::audit_service_server::AuditService;
use meshwork_chassis::events::{AuditGrpc, StockReader};
use meshwork_events::inbox::sqlite::{COMPONENTS as OF_INBOX, Inbox, gate};
use meshwork_events::outbox::sqlite::{COMPONENTS as OF_OUTBOX, Outbox};
use meshwork_events::outbox::{NewEvent, PARTITIONS};
use meshwork_events::{Bus, ConsumerState, Position, Source, SqliteBus};
use meshwork_sql::{Error, Sqlite};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

const DOMAIN: &str = "tests.meshwork.dev";
const STREAM: &str = "things";
const CONSUMER: &str = "reader";
/// How many events a service has: more than two pages of each partition.
const EVENTS: usize = 2200;
/// How many bytes an event has.
const BYTES: usize = 4096;

/// A service's outbox and inbox in one database, and a bus.
struct World {
    db: Sqlite,
    outbox: Outbox,
    bus: Arc<SqliteBus>,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let components = [OF_OUTBOX.as_slice(), OF_INBOX.as_slice()].concat();
        let db = Sqlite::open(&folder.path().join("things.db"), &components).await.unwrap();
        let bus = SqliteBus::open(&folder.path().join("bus")).await.unwrap();
        Self { outbox: Outbox::new(db.clone(), STREAM), db, bus, folder }
    }

    /// Writes one event for each of so many aggregates.
    async fn append(&self, count: usize) {
        let event = |at: usize| NewEvent {
            event_type: "thing_made",
            schema_version: 1,
            subject: format!("things/{at:05}"),
            version: 1,
            data: vec![7; BYTES],
        };
        let events: Vec<_> = (0..count).map(event).collect();
        let written =
            self.db.write::<_, (), Error, _>((self.outbox.clone(), events), |connection, (outbox, events)| {
                Box::pin(async move { outbox.append(connection, OffsetDateTime::now_utc(), events).await })
            });
        written.await.unwrap();
    }

    /// Publishes all that is written, but for the second event of the first lane: that comes beside it.
    async fn publish(&self) {
        for lane in self.bus.lanes(STREAM).iter().filter(|lane| lane.partition < PARTITIONS) {
            let mut events = self.outbox.read(lane.partition, 1, EVENTS).await.unwrap().events;
            let beside = (lane.partition == 0).then(|| events.remove(1));
            let mut publisher = self.bus.publisher(lane).await.unwrap();
            publisher.publish(&events).await.unwrap();
            if let Some(event) = beside {
                publisher.repair(&[event]).await.unwrap();
            }
        }
    }

    /// What is told of the outbox.
    fn audit(&self) -> AuditGrpc {
        let bus: Arc<dyn Bus> = self.bus.clone();
        AuditGrpc::new(bus, DOMAIN).source(Arc::new(self.outbox.clone()), STREAM)
    }

    async fn source(&self, include_data: bool) -> Vec<pb::ReadSourceResponse> {
        all(self.audit().read_source(Request::new(pb::ReadSourceRequest { include_data })).await).await
    }
}

/// All responses of a stream that ends well.
async fn all<T, S>(response: Result<Response<S>, Status>) -> Vec<T>
where
    S: tokio_stream::Stream<Item = Result<T, Status>> + Unpin,
{
    let responses: Vec<_> = response.unwrap().into_inner().collect().await;
    responses.into_iter().map(Result::unwrap).collect()
}

fn events_of(pages: &[pb::ReadSourceResponse]) -> Vec<&pb::EventSummary> {
    pages.iter().flat_map(|page| &page.commits).flat_map(|commit| &commit.events).collect()
}

#[tokio::test]
async fn every_commit_is_told_in_order_of_position_page_by_page() {
    let world = World::new().await;
    world.append(EVENTS).await;
    let pages = world.source(false).await;
    let (first, rest) = pages.split_first().unwrap();
    assert_eq!((first.source.as_str(), first.partitions.len()), (STREAM, usize::from(PARTITIONS)));
    let ends: i64 = first.partitions.iter().map(|partition| partition.head).sum();
    assert_eq!(usize::try_from(ends).unwrap(), EVENTS);
    assert!(rest.len() > usize::from(PARTITIONS), "{} pages", rest.len());
    assert!(rest.iter().all(|page| (1..=256).contains(&page.commits.len()) && page.source.is_empty()));
    let commits: Vec<_> = rest.iter().flat_map(|page| &page.commits).collect();
    let places: Vec<_> = commits.iter().map(|commit| (commit.partition, commit.position)).collect();
    let expected = first.partitions.iter().flat_map(|of| (1..=of.head).map(move |n| (of.partition, n)));
    assert_eq!(places, expected.collect::<Vec<_>>());
    for event in events_of(&pages) {
        assert!(event.data.is_empty() && event.content_hash != 0, "{}", event.id);
    }
}

#[tokio::test]
async fn the_sources_of_shards_are_told_as_one_by_the_numbers_of_their_partitions() {
    let (first, second) = (World::new().await, World::new().await);
    first.append(9).await;
    second.append(5).await;
    let shard = Outbox::numbered(second.db.clone(), STREAM, PARTITIONS);
    let audit = first.audit().source(Arc::new(shard), STREAM);
    let pages = all(audit.read_source(Request::new(pb::ReadSourceRequest { include_data: false })).await).await;
    let (head, rest) = pages.split_first().unwrap();
    let partitions: Vec<_> = head.partitions.iter().map(|of| of.partition).collect();
    assert_eq!((head.source.as_str(), partitions), (STREAM, (0..8).collect::<Vec<_>>()));
    assert!(rest.iter().all(|page| page.source.is_empty() && page.partitions.is_empty()));
    let places: Vec<_> =
        rest.iter().flat_map(|page| &page.commits).map(|commit| (commit.partition, commit.position)).collect();
    let expected = head.partitions.iter().flat_map(|of| (1..=of.head).map(move |n| (of.partition, n)));
    assert_eq!(places, expected.collect::<Vec<_>>());
    let of_second = places.iter().filter(|(partition, _)| *partition >= i32::from(PARTITIONS)).count();
    assert_eq!((places.len(), of_second), (14, 5));
    for event in events_of(&pages) {
        assert!(places.contains(&(event.partition, event.position)), "{}", event.id);
    }
}

#[tokio::test]
async fn what_events_say_comes_where_it_is_asked_for_and_pages_stay_small() {
    let world = World::new().await;
    world.append(EVENTS).await;
    let pages = world.source(true).await;
    assert_eq!(events_of(&pages).len(), EVENTS);
    assert!(events_of(&pages).iter().all(|event| event.data == [7; BYTES]));
    for page in &pages {
        let bytes: usize = page.commits.iter().flat_map(|commit| &commit.events).map(|event| event.data.len()).sum();
        assert!(bytes <= 512 * 1024, "{bytes} bytes");
    }
}

#[tokio::test]
async fn what_is_published_is_told_with_what_was_published_beside_it() {
    let world = World::new().await;
    world.append(EVENTS).await;
    world.publish().await;
    let pages = all(world.audit().read_published(Request::new(pb::ReadPublishedRequest {})).await).await;
    let (first, rest) = pages.split_first().unwrap();
    assert_eq!(first.stream, STREAM);
    assert_eq!(first.retention.as_ref().unwrap().seconds, i64::try_from(world.bus.retention().as_secs()).unwrap());
    assert!(rest.iter().all(|page| (1..=256).contains(&page.events.len())));
    let told: Vec<_> = rest.iter().flat_map(|page| &page.events).collect();
    let repaired: Vec<_> = told.iter().filter(|event| event.repaired).map(|event| event.lane.as_str()).collect();
    assert_eq!(repaired, ["things.p00"]);
    let published: BTreeSet<_> =
        told.iter().filter_map(|event| event.event.as_ref()).map(|event| (&event.id, event.content_hash)).collect();
    let pages = world.source(false).await;
    let appended: BTreeSet<_> = events_of(&pages).into_iter().map(|event| (&event.id, event.content_hash)).collect();
    assert_eq!((told.len(), published), (EVENTS, appended));
}

#[tokio::test]
async fn how_far_a_consumer_has_come_is_told_by_aggregate_unless_it_notes_none() {
    let world = World::new().await;
    let applied = world.db.write::<_, (), Error, _>((), |connection, ()| {
        Box::pin(async move {
            for at in 0..1100 {
                gate(connection, CONSUMER, &format!("things/{at:05}"), 1).await?;
            }
            Ok(())
        })
    });
    applied.await.unwrap();
    let inbox: Arc<dyn ConsumerState> = Arc::new(Inbox::new(world.db.clone(), CONSUMER));
    inbox.reached(STREAM, Position { partition: 2, n: 9, index: 1 }).await.unwrap();
    for versioned in [true, false] {
        let audit = world.audit().consumer(inbox.clone(), &[STREAM], versioned);
        let pages = all(audit.read_applied(Request::new(pb::ReadAppliedRequest {})).await).await;
        let [consumer] = &pages[0].consumers[..] else { panic!("{:?}", pages[0]) };
        assert_eq!((consumer.consumer.as_str(), consumer.versioned), (CONSUMER, versioned));
        let noted: Vec<_> =
            consumer.partitions.iter().map(|at| (at.stream.as_str(), at.partition, at.position, at.index)).collect();
        assert!(noted.contains(&(STREAM, 2, 9, 1)) && noted.contains(&(STREAM, 0, 0, 0)), "{noted:?}");
        assert!(pages.iter().all(|page| page.aggregates.len() <= 512));
        let subjects: Vec<_> = pages.iter().flat_map(|page| &page.aggregates).map(|of| of.subject.clone()).collect();
        let expected = if versioned { 1100 } else { 0 };
        assert_eq!(subjects, (0..expected).map(|at| format!("things/{at:05}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_service_answers_with_nothing_what_it_has_none_of() {
    let world = World::new().await;
    let bus: Arc<dyn Bus> = world.bus.clone();
    let audit = AuditGrpc::new(bus, DOMAIN);
    assert_eq!(all(audit.read_source(Request::new(pb::ReadSourceRequest::default())).await).await, []);
    assert_eq!(all(audit.read_published(Request::new(pb::ReadPublishedRequest {})).await).await, []);
    assert_eq!(all(audit.read_applied(Request::new(pb::ReadAppliedRequest {})).await).await, []);
    assert_eq!(all(audit.read_stocks(Request::new(pb::ReadStocksRequest {})).await).await, []);
}

/// So many products, of which each has a piece more than the one before it.
struct Shelves(u16);

#[async_trait::async_trait]
impl StockReader for Shelves {
    async fn stocks(&self, after: &str, limit: usize) -> Result<Vec<pb::ProductStock>, String> {
        let all = (0..self.0).map(|at| pb::ProductStock {
            product: format!("products/{at:05}"),
            received: i64::from(at),
            ..Default::default()
        });
        Ok(all.filter(|stock| stock.product.as_str() > after).take(limit).collect())
    }
}

#[tokio::test]
async fn stocks_are_told_page_by_page() {
    let audit = World::new().await.audit().stocks(Arc::new(Shelves(1300)));
    let pages = all(audit.read_stocks(Request::new(pb::ReadStocksRequest {})).await).await;
    assert!(pages.iter().all(|page| (1..=512).contains(&page.stocks.len())));
    let received: Vec<_> = pages.iter().flat_map(|page| &page.stocks).map(|stock| stock.received).collect();
    assert_eq!(received, (0..1300).collect::<Vec<i64>>());
}

#[tokio::test]
async fn two_calls_are_answered_at_a_time_and_who_reads_nothing_does_not_keep_its_turn() {
    let world = World::new().await;
    world.append(EVENTS).await;
    let audit = world.audit();
    let read = || audit.read_source(Request::new(pb::ReadSourceRequest { include_data: true }));
    let unread = (read().await.unwrap(), read().await.unwrap());
    // What is waited for comes at once.
    tokio::time::pause();
    let refused = audit.read_applied(Request::new(pb::ReadAppliedRequest {})).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "AUDITS_BUSY");
    assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some()));
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert!(audit.read_applied(Request::new(pb::ReadAppliedRequest {})).await.is_ok());
    drop(unread);
}

#[tokio::test]
async fn a_store_that_can_not_be_read_ends_the_stream_with_an_error() {
    let world = World::new().await;
    // It has no tables.
    let db = Sqlite::open(&world.folder.path().join("other.db"), &[]).await.unwrap();
    let bus: Arc<dyn Bus> = world.bus.clone();
    let audit = AuditGrpc::new(bus, DOMAIN).source(Arc::new(Outbox::new(db, STREAM)), STREAM);
    let responses = audit.read_source(Request::new(pb::ReadSourceRequest::default())).await.unwrap();
    let responses: Vec<_> = responses.into_inner().collect().await;
    let status = responses.last().unwrap().as_ref().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

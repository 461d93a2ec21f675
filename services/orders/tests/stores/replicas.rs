//! RR-: lists that are read from replicas of the view's database.

use std::sync::Arc;
use std::time::Duration;

use meshwork_aip::page::PageRequest;
use meshwork_chassis::CancellationToken;
use meshwork_chassis::consistency::Freshness;
use meshwork_events::Progress;
use meshwork_eventstore::SqliteEventStore;
use meshwork_eventstore::projection::Projector;
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::adapters::projector::Lag;
use meshwork_orders::adapters::read_model::PostgresReadModel;
use meshwork_orders::domain::OrderEvent;
use meshwork_orders::ports::{Awaited, OrderFilter, OrderReadModel, Position, ViewPage};
use meshwork_orders::testing::{append, created, read_model_conformance, second};
use meshwork_sql::PostgresOptions;
use meshwork_testkit::Postgres;
use meshwork_testkit::postgres::Cluster;
use tempfile::TempDir;

use crate::rooms::{PATIENCE, until};

/// A store in a file, and its view on a primary with two replicas, which are read from however far they are behind.
struct Replicated {
    store: Arc<EventOrderStore>,
    view: Arc<PostgresReadModel>,
    shutdown: CancellationToken,
    cluster: Cluster,
    _folder: TempDir,
}

impl Replicated {
    async fn open() -> Self {
        let (cluster, url) = tokio::task::spawn_blocking(|| {
            let cluster = Postgres::with_replicas(2, false);
            let url = cluster.database();
            (cluster, url)
        })
        .await
        .unwrap();
        let options = PostgresOptions {
            replicas: cluster.replica_urls(&url),
            max_lag: Duration::from_secs(600),
            max_lag_bytes: 1 << 30,
            ..PostgresOptions::new(url)
        };
        let view = Arc::new(PostgresReadModel::open(&options).await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let events = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 1).await.unwrap());
        let shutdown = CancellationToken::new();
        let projector = Projector::new(events.clone(), view.clone(), Arc::new(Lag(Progress::new(1))));
        tokio::spawn(projector.run(shutdown.clone()));
        let store = Arc::new(EventOrderStore::new(events));
        let opened = Self { store, view, shutdown, cluster, _folder: folder };
        opened.replayed();
        until("both replicas to be read from", async || opened.view.replicas().iter().all(|replica| replica.selected))
            .await;
        opened
    }

    /// Waits until the replicas have all that the primary has.
    fn replayed(&self) {
        (0..2).for_each(|replica| self.cluster.wait_for_replay(replica));
    }

    async fn place(&self, id: &str) -> Position {
        append(self.store.as_ref(), id, "a", &[created("anna")], second(1)).await.unwrap().commit.position
    }

    async fn list(&self, freshness: Freshness, awaited: Option<Position>) -> ViewPage {
        let awaited = awaited.map(|position| Awaited { position, at_most: PATIENCE });
        let page = PageRequest { size: 100, after: None };
        self.view.list(&OrderFilter::default(), &page, freshness, awaited).await.unwrap()
    }

    /// How many reads the replicas have answered.
    fn reads(&self) -> u64 {
        self.view.replicas().iter().map(|replica| replica.reads).sum()
    }
}

impl Drop for Replicated {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_list_with_a_token_is_whole_while_replicas_stand_still() {
    let replicated = Replicated::open().await;
    let first = replicated.place("first").await;
    assert_eq!(replicated.list(Freshness::Latest, Some(first)).await.page.items.len(), 1);
    replicated.replayed();
    (0..2).for_each(|replica| replicated.cluster.pause_replay(replica));

    for at in 0..20 {
        let seen = replicated.place(&format!("later-{at}")).await;
        let listed = replicated.list(Freshness::Bounded, Some(seen)).await;
        assert_eq!((listed.behind, listed.page.items.len()), (false, at + 2), "{listed:?}");
        // Without a token they are asked, and show what they have.
        let (answered, old) = (replicated.reads(), replicated.list(Freshness::Bounded, None).await);
        assert_eq!((old.page.items.len(), replicated.reads()), (1, answered + 1), "{old:?}");
    }
    (0..2).for_each(|replica| replicated.cluster.resume_replay(replica));
    until("the replicas go on", async || replicated.list(Freshness::Bounded, None).await.page.items.len() == 21).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_replica_that_has_come_to_a_token_answers_it() {
    let replicated = Replicated::open().await;
    let seen = replicated.place("first").await;
    assert!(!replicated.list(Freshness::Latest, Some(seen)).await.behind);
    replicated.replayed();
    let answered = replicated.reads();
    for _ in 0..4 {
        let listed = replicated.list(Freshness::Bounded, Some(seen)).await;
        assert!(!listed.behind && listed.page.items.len() == 1, "{listed:?}");
    }
    assert_eq!(replicated.reads(), answered + 4);
    // One that nobody can show yet is waited for, and then the list says so.
    let ahead = Awaited { position: Position { n: seen.n + 1, ..seen }, at_most: Duration::from_millis(20) };
    let page = PageRequest { size: 100, after: None };
    let listed = replicated.view.list(&OrderFilter::default(), &page, Freshness::Bounded, Some(ahead)).await.unwrap();
    assert!(listed.behind && listed.page.items.len() == 1, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_the_watchdog_looks_at_the_primary() {
    let replicated = Replicated::open().await;
    let store = replicated.store.as_ref();
    let seen = replicated.place("first").await;
    assert!(!replicated.list(Freshness::Latest, Some(seen)).await.behind);
    replicated.replayed();
    (0..2).for_each(|replica| replicated.cluster.pause_replay(replica));
    let waiting = async || replicated.view.waiting(second(100), None, 10).await.unwrap().len();
    assert_eq!(waiting().await, 1);
    let ended = OrderEvent::Cancelled { reason: "enough".to_owned() };
    let cancelled = append(store, "first", "b", &[ended], second(2)).await.unwrap().commit.position;
    assert!(!replicated.list(Freshness::Bounded, Some(cancelled)).await.behind);
    assert_eq!(waiting().await, 0, "an order that has ended isn't asked about again");
    (0..2).for_each(|replica| replicated.cluster.resume_replay(replica));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_a_view_with_replicas_conforms() {
    let replicated = Replicated::open().await;
    let before = replicated.reads();
    read_model_conformance(replicated.store.clone(), replicated.view.clone()).await;
    assert!(replicated.reads() > before, "no list was read from a replica");
}

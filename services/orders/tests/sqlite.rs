//! The embedded adapters against the conformance suites, and what is their own: the projector and damage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_api::ProductName;
use meshwork_chassis::page::PageRequest;
use meshwork_chassis::{CancellationToken, SystemClock};
use meshwork_events::Progress;
use meshwork_eventstore::{EventStore, Expected, NewEvent, SqliteEventStore};
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::adapters::projector;
use meshwork_orders::adapters::read_model::SqliteReadModel;
use meshwork_orders::app::App;
use meshwork_orders::domain::{OrderEvent, State};
use meshwork_orders::ports::{
    Catalogue, CatalogueError, CatalogueItem, OrderFilter, OrderReadModel, OrderStore, StoreError,
};
use meshwork_orders::testing::{
    append, created, folded, listed, order_name, order_store_conformance, read_model_conformance, second, shown,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The longest that a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A store and a view in a folder.
struct Rooms {
    events: Arc<SqliteEventStore>,
    store: Arc<EventOrderStore>,
    view: SqliteReadModel,
    folder: TempDir,
}

async fn rooms(partitions: u16) -> Rooms {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), partitions).await.unwrap());
    let view = SqliteReadModel::open(&folder.path().join("view.db")).await.unwrap();
    Rooms { store: Arc::new(EventOrderStore::new(events.clone())), events, view, folder }
}

impl Rooms {
    /// Runs a projector until the token is cancelled or the task aborted.
    fn project(&self, shutdown: &CancellationToken) -> JoinHandle<()> {
        tokio::spawn(projector::run(Progress::new(4), self.events.clone(), self.view.clone(), shutdown.clone()))
    }

    /// Appends an event as somebody else might have left it.
    async fn plant(&self, id: &str, command_id: &str, event_type: &'static str, data: &'static [u8]) {
        let append = meshwork_eventstore::Append {
            stream: format!("orders/{id}"),
            expected: Expected::Any,
            command_id: command_id.to_owned(),
            command_hash: [0; 32],
            events: vec![NewEvent { event_type, schema_version: 1, data: Bytes::from_static(data) }],
            result: Bytes::new(),
            at: second(5),
        };
        self.events.append(append).await.unwrap();
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn the_store_conforms() {
    for partitions in [1, 16] {
        order_store_conformance(rooms(partitions).await.store).await;
    }
}

#[tokio::test]
async fn the_read_model_conforms() {
    let rooms = rooms(4).await;
    let shutdown = CancellationToken::new();
    let projector = rooms.project(&shutdown);
    read_model_conformance(rooms.store.clone(), Arc::new(rooms.view.clone())).await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_are_no_orders_to_the_view_and_to_others() {
    let rooms = rooms(1).await;
    let request = meshwork_chassis::request::RequestKey {
        principal: "users/anna".to_owned(),
        method: "CreateOrder",
        id: "1".to_owned(),
        hash: [1; 32],
    };
    rooms.store.claim(&request, second(1)).await.unwrap();
    rooms.store.settle(&request, 1, second(1)).await.unwrap();
    append(rooms.store.as_ref(), "real", "a", &[created("anna")], second(2)).await.unwrap();
    let shutdown = CancellationToken::new();
    let _projector = rooms.project(&shutdown);
    shown(rooms.store.as_ref(), &rooms.view, "real").await;
    assert_eq!(listed(&rooms.view, &OrderFilter::default()).await.len(), 1);
    let commits = rooms.events.read_partition(0, 0, 10).await.unwrap();
    let public: Vec<_> = commits
        .iter()
        .flat_map(|commit| &commit.events)
        .filter(|event| meshwork_orders::adapters::event_store::is_public(&event.event_type))
        .map(|event| event.event_type.as_str())
        .collect();
    assert_eq!(public, ["order_created"]);
}

/// The ids of so many orders.
fn many(orders: usize) -> Vec<String> {
    (0..orders).map(|at| format!("many-{at}")).collect()
}

/// Places orders and takes each of them two events further.
async fn fill(store: &dyn OrderStore, ids: &[String]) {
    for id in ids {
        append(store, id, "a", &[created("anna")], second(1)).await.unwrap();
        append(store, id, "b", &[OrderEvent::Confirmed, OrderEvent::Allocated], second(2)).await.unwrap();
    }
}

/// Holds the view against the folds of all histories.
async fn assert_view_is_exact(rooms: &Rooms, ids: &[String]) {
    let orders = listed(&rooms.view, &OrderFilter::default()).await;
    assert_eq!(orders.len(), ids.len());
    for order in orders {
        assert_eq!(folded(rooms.store.as_ref(), &order.name).await, Some(order));
    }
}

#[tokio::test]
async fn a_projector_that_is_killed_again_and_again_applies_each_event_once() {
    let rooms = rooms(1).await;
    let ids = many(600);
    fill(rooms.store.as_ref(), &ids).await;
    let head = 2 * 600;
    let mut kills = 0;
    let mut seen = 0;
    while seen < head {
        let projector = rooms.project(&CancellationToken::new());
        until("the projector to go on", async || rooms.view.checkpoint(0).await.unwrap() > seen).await;
        projector.abort();
        projector.await.ok();
        kills += 1;
        seen = rooms.view.checkpoint(0).await.unwrap();
    }
    assert!(kills > 1, "the projector was never killed between two batches");
    assert_eq!(seen, head);
    assert_view_is_exact(&rooms, &ids).await;
}

#[tokio::test]
async fn two_projectors_at_once_do_no_harm() {
    let rooms = rooms(2).await;
    let ids = many(200);
    let shutdown = CancellationToken::new();
    // As from another process: it has the files alone in common.
    let other = Arc::new(SqliteEventStore::open(&rooms.folder.path().join("events.db"), 2).await.unwrap());
    let other_view = SqliteReadModel::open(&rooms.folder.path().join("view.db")).await.unwrap();
    let projectors = [
        rooms.project(&shutdown),
        rooms.project(&shutdown),
        tokio::spawn(projector::run(Progress::new(4), other, other_view, shutdown.clone())),
    ];
    fill(rooms.store.as_ref(), &ids).await;
    for id in &ids {
        shown(rooms.store.as_ref(), &rooms.view, id).await;
    }
    shutdown.cancel();
    for projector in projectors {
        tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
    }
    assert_view_is_exact(&rooms, &ids).await;
}

#[tokio::test]
async fn commits_that_were_applied_are_not_applied_again() {
    let rooms = rooms(1).await;
    fill(rooms.store.as_ref(), &many(2)).await;
    let commits = rooms.events.read_partition(0, 0, 100).await.unwrap();
    assert!(rooms.view.apply(0, 0, commits[..3].to_vec()).await.unwrap());
    let before = listed(&rooms.view, &OrderFilter::default()).await;
    assert!(!rooms.view.apply(0, 0, commits.clone()).await.unwrap(), "from the beginning");
    assert!(!rooms.view.apply(0, 2, commits[2..].to_vec()).await.unwrap(), "from what another has passed");
    assert_eq!(listed(&rooms.view, &OrderFilter::default()).await, before);
    assert_eq!(rooms.view.checkpoint(0).await.unwrap(), 3);
    assert!(rooms.view.apply(0, 3, commits[3..].to_vec()).await.unwrap());
    assert_view_is_exact(&rooms, &many(2)).await;
}

#[tokio::test]
async fn a_damaged_event_parks_its_order_alone() {
    let rooms = rooms(1).await;
    let store = rooms.store.as_ref();
    append(store, "damaged", "a", &[created("anna")], second(1)).await.unwrap();
    let as_it_was = folded(store, &order_name("damaged")).await.unwrap();
    append(store, "strange", "a", &[created("anna")], second(1)).await.unwrap();
    append(store, "sound", "a", &[created("anna")], second(1)).await.unwrap();
    rooms.plant("damaged", "b", "order_confirmed", &[0xff]).await;
    rooms.plant("damaged", "c", "order_delivered", &[]).await;
    rooms.plant("strange", "b", "order_painted", &[]).await;
    rooms.plant("headless", "a", "order_confirmed", &[]).await;
    append(store, "sound", "b", &[OrderEvent::ReservationRequested { attempt: 1 }], second(2)).await.unwrap();
    let shutdown = CancellationToken::new();
    let projector = rooms.project(&shutdown);
    shown(store, &rooms.view, "sound").await;
    let orders = listed(&rooms.view, &OrderFilter::default()).await;
    assert_eq!(orders.iter().map(|order| order.name.id()).collect::<Vec<_>>(), ["strange", "sound", "damaged"]);
    assert_eq!(orders[2], as_it_was);
    assert_eq!(rooms.view.waiting(second(9), 10).await.unwrap(), [order_name("sound")]);
    for (id, problem) in [("damaged", "order_confirmed"), ("strange", "order_painted")] {
        let error = store.history(&order_name(id), 0).await.unwrap_err();
        let StoreError::Damaged(text) = &error else { panic!("{error:?}") };
        assert!(text.contains(id) && text.contains("version 2") && text.contains(problem), "{text}");
    }
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
}

/// A catalogue that nobody asks.
struct Closed;

#[async_trait]
impl Catalogue for Closed {
    async fn items(&self, _: &[ProductName]) -> Result<Vec<CatalogueItem>, CatalogueError> {
        Err(CatalogueError::Unavailable("closed".to_owned()))
    }
}

#[tokio::test]
async fn the_watchdog_passes_over_an_order_that_can_not_be_read() {
    let rooms = rooms(1).await;
    let store = rooms.store.as_ref();
    append(store, "damaged", "a", &[created("anna")], second(1)).await.unwrap();
    append(store, "sound", "a", &[created("anna")], second(2)).await.unwrap();
    let shutdown = CancellationToken::new();
    let projector = rooms.project(&shutdown);
    shown(store, &rooms.view, "sound").await;
    shown(store, &rooms.view, "damaged").await;
    // The view is behind: it knows nothing of the damage.
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
    rooms.plant("damaged", "b", "order_confirmed", &[0xff]).await;
    let app = App {
        store: rooms.store.clone(),
        read_model: Arc::new(rooms.view.clone()),
        catalogue: Arc::new(Closed),
        clock: Arc::new(SystemClock),
    };
    assert_eq!(app.watch_over_pending(Duration::from_secs(60)).await.unwrap(), 2);
    assert_eq!(folded(store, &order_name("sound")).await.unwrap().reservation_requests, 1);
}

#[tokio::test]
async fn a_page_is_cut_at_its_size_and_names_the_next() {
    let rooms = rooms(1).await;
    let shutdown = CancellationToken::new();
    let _projector = rooms.project(&shutdown);
    let ids = many(3);
    fill(rooms.store.as_ref(), &ids).await;
    for id in &ids {
        shown(rooms.store.as_ref(), &rooms.view, id).await;
    }
    let filter = OrderFilter { customer: None, state: Some(State::Confirmed) };
    for (size, items, more) in [(1, 1, true), (2, 2, true), (3, 3, false), (4, 3, false)] {
        let page = rooms.view.list(&filter, &PageRequest { size, after: None }).await.unwrap();
        assert_eq!((page.items.len(), page.next.is_some()), (items, more), "{size}");
    }
}

#[tokio::test]
async fn the_projector_tells_how_far_behind_it_is() {
    let rooms = rooms(2).await;
    rooms.events.ping().await.unwrap();
    rooms.view.ping().await.unwrap();
    let progress = Progress::new(2);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = progress.lag();
    assert!(before >= Duration::from_millis(20));
    let shutdown = CancellationToken::new();
    let run = projector::run(progress.clone(), rooms.events.clone(), rooms.view.clone(), shutdown.clone());
    let running = tokio::spawn(run);
    // It looks again each second; with a projector that stands still the lag would only grow.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    until("a projector that has caught up", async || progress.lag() < Duration::from_millis(2_500)).await;
    shutdown.cancel();
    running.await.unwrap();
}

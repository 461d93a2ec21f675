//! Events and a view of them, embedded or on servers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meshwork_api::{ProductName, UserName};
use meshwork_chassis::{CancellationToken, SystemClock};
use meshwork_events::Progress;
use meshwork_eventstore::projection::{ProjectionStore, Projections, Projector, VersionState};
use meshwork_eventstore::{EventStore, Expected, NewEvent, SqliteEventStore};
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::adapters::projector::Lag;
use meshwork_orders::adapters::read_model::{PostgresReadModel, SqliteReadModel};
use meshwork_orders::app::App;
use meshwork_orders::app::commands::OpenOrders;
use meshwork_orders::domain::OrderEvent;
use meshwork_orders::ports::{
    Catalogue, CatalogueError, CatalogueItem, Customers, CustomersError, OrderFilter, OrderReadModel,
};
use meshwork_orders::testing::{append, created, folded, listed, second};
use meshwork_sql::PostgresOptions;
use meshwork_testkit::Postgres;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The longest that a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A catalogue, and a users service, that nobody asks.
struct Closed;

#[async_trait]
impl Catalogue for Closed {
    async fn items(&self, _: &[ProductName]) -> Result<Vec<CatalogueItem>, CatalogueError> {
        Err(CatalogueError::Unavailable("closed".to_owned()))
    }
}

#[async_trait]
impl Customers for Closed {
    async fn exists(&self, _: &UserName) -> Result<bool, CustomersError> {
        Err(CustomersError("closed".to_owned()))
    }

    async fn is_deleted(&self, _: &UserName) -> Result<bool, CustomersError> {
        Err(CustomersError("closed".to_owned()))
    }
}

/// Where a view is.
pub(crate) enum Place {
    File(TempDir),
    Server { url: String, _postgres: Postgres, folder: TempDir },
}

/// A store and a view.
pub(crate) struct Rooms {
    pub(crate) events: Arc<SqliteEventStore>,
    pub(crate) store: Arc<EventOrderStore>,
    pub(crate) lists: Arc<dyn OrderReadModel>,
    pub(crate) view: Arc<dyn ProjectionStore>,
    pub(crate) place: Place,
}

/// One with its view in SQLite, and one with its view in PostgreSQL.
pub(crate) async fn both(partitions: u16) -> [Rooms; 2] {
    let file = Place::File(tempfile::tempdir().unwrap());
    let postgres = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let url = postgres.database();
    let server = Place::Server { url, _postgres: postgres, folder: tempfile::tempdir().unwrap() };
    [rooms(file, partitions).await, rooms(server, partitions).await]
}

/// One with its view in SQLite.
pub(crate) async fn embedded(partitions: u16) -> Rooms {
    rooms(Place::File(tempfile::tempdir().unwrap()), partitions).await
}

/// Opens the view as another process would.
pub(crate) async fn open(place: &Place) -> (Arc<dyn OrderReadModel>, Arc<dyn ProjectionStore>) {
    match place {
        Place::File(folder) => {
            let view = Arc::new(SqliteReadModel::open(&folder.path().join("view.db")).await.unwrap());
            (view.clone(), view)
        }
        Place::Server { url, .. } => {
            let view = Arc::new(PostgresReadModel::open(&PostgresOptions::new(url)).await.unwrap());
            (view.clone(), view)
        }
    }
}

impl Place {
    /// A database of events beside the view.
    pub(crate) fn events(&self, file: &str) -> PathBuf {
        match self {
            Place::File(folder) | Place::Server { folder, .. } => folder.path().join(file),
        }
    }
}

async fn rooms(place: Place, partitions: u16) -> Rooms {
    let events = Arc::new(SqliteEventStore::open(&place.events("events.db"), partitions).await.unwrap());
    let (lists, view) = open(&place).await;
    Rooms { store: Arc::new(EventOrderStore::new(events.clone())), events, lists, view, place }
}

impl Rooms {
    /// Has another database of events take the place of the one there is; it is empty when there is none.
    pub(crate) async fn put_in(&mut self, file: &str) {
        let partitions = self.events.partitions();
        self.events = Arc::new(SqliteEventStore::open(&self.place.events(file), partitions).await.unwrap());
        self.store = Arc::new(EventOrderStore::new(self.events.clone()));
    }

    /// Runs a projector until the token is cancelled or the task aborted.
    pub(crate) fn project(&self, shutdown: &CancellationToken) -> JoinHandle<()> {
        self.project_by(self.view.clone(), Progress::new(self.events.partitions()), shutdown)
    }

    pub(crate) fn project_by(
        &self,
        view: Arc<dyn ProjectionStore>,
        progress: Progress,
        shutdown: &CancellationToken,
    ) -> JoinHandle<()> {
        let projector = Projector::new(self.events.clone(), view, Arc::new(Lag(progress)));
        tokio::spawn(projector.run(shutdown.clone()))
    }

    /// The use cases, as far as they need no catalogue, beside a projector that tells `progress` how far it is.
    pub(crate) fn app(&self, progress: &Progress) -> App {
        App {
            store: self.store.clone(),
            read_model: self.lists.clone(),
            following: Arc::new(progress.clone()),
            catalogue: Arc::new(Closed),
            customers: Arc::new(Closed),
            open_orders: Arc::new(OpenOrders::new(0)),
            former: Arc::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The view for those who run it.
    pub(crate) fn projections(&self) -> Projections {
        Projections::new(self.events.clone(), self.view.clone())
    }

    /// The version that queries read.
    pub(crate) async fn live(&self) -> i64 {
        let versions = self.view.versions().await.unwrap();
        versions.iter().find(|(_, state)| *state == VersionState::Live).unwrap().0
    }

    /// How far the live version has followed a partition.
    pub(crate) async fn checkpoint(&self, partition: u16) -> i64 {
        self.view.checkpoint(self.live().await, partition).await.unwrap().position
    }

    /// Waits until the live version has applied everything.
    pub(crate) async fn caught_up(&self) {
        for partition in 0..self.events.partitions() {
            let head = self.events.head(partition).await.unwrap();
            until("the projector", async || self.checkpoint(partition).await >= head).await;
        }
    }

    /// Appends an event as somebody else might have left it.
    pub(crate) async fn plant(&self, id: &str, command_id: &str, event_type: &'static str, data: &'static [u8]) {
        let append = meshwork_eventstore::Append {
            stream: format!("orders/{id}"),
            expected: Expected::Any,
            command_id: command_id.to_owned(),
            command_hash: [0; 32],
            events: vec![NewEvent { event_type, schema_version: 1, data: Bytes::from_static(data) }],
            result: Bytes::new(),
            at: second(5),
            context: meshwork_eventstore::Context::default(),
        };
        self.events.append(append).await.unwrap();
    }

    /// Holds the view against the folds of all histories.
    pub(crate) async fn assert_view_is_exact(&self, ids: &[String]) {
        let orders = listed(self.lists.as_ref(), &OrderFilter::default()).await;
        assert_eq!(orders.len(), ids.len());
        for order in orders {
            assert_eq!(folded(self.store.as_ref(), &order.name).await, Some(order));
        }
    }
}

pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// The ids of so many orders.
pub(crate) fn many(orders: usize) -> Vec<String> {
    (0..orders).map(|at| format!("many-{at:04}")).collect()
}

/// Places orders and takes each of them two events further.
pub(crate) async fn fill(store: &EventOrderStore, ids: &[String]) {
    for id in ids {
        append(store, id, "a", &[created("anna")], second(1)).await.unwrap();
        append(store, id, "b", &[OrderEvent::Confirmed, OrderEvent::Allocated], second(2)).await.unwrap();
    }
}

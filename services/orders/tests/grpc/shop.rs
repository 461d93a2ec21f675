//! The service with its surroundings.

use meshwork_chassis::ServerConfig;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshwork_api::meshwork::admin::v1::dead_letter_service_client::DeadLetterServiceClient;
use meshwork_api::meshwork::admin::v1::projection_service_client::ProjectionServiceClient;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{self as proto, Order, order};
use meshwork_chassis::config::{AuthConfig, Listen};
use meshwork_chassis::request::RequestKey;
use meshwork_chassis::{CancellationToken, Health, ServeError};
use meshwork_events::inbox::sqlite::Inbox;
use meshwork_events::outbox::PARTITIONS;
use meshwork_events::testing::{lane, publish, read_all, tail};
use meshwork_events::{ConsumerState as _, Context, Envelope, Position, SqliteBus};
use meshwork_eventstore::{Append, Commit, EventStore, Expected, NewEvent, SqliteEventStore, partition_of};
use meshwork_orders::Config;
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::adapters::stock_events::CONSUMER;
use meshwork_orders::domain::{Command, OrderEvent};
use meshwork_orders::ports::{CommandKey, OrderStore as _};
use meshwork_orders::testing::created;
use meshwork_sql::Sqlite;
use meshwork_testkit::Issuer;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::catalogue::Catalogue;
use crate::inventory::Inventory;

/// The longest that a test waits for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition, within [`PATIENCE`].
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Sends a token with each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A caller of the service.
pub type Client = OrderServiceClient<InterceptedService<Channel, Bearer>>;

/// The running service.
struct Service {
    address: String,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

/// The service with its surroundings, in a folder of its own.
pub struct Shop {
    pub issuer: Issuer,
    pub catalogue: Catalogue,
    pub inventory: Inventory,
    bus: Arc<SqliteBus>,
    store: SqliteEventStore,
    config: Config,
    service: Service,
    _folder: TempDir,
}

impl Shop {
    /// The events that the service could not handle.
    pub async fn parked(&self) -> Vec<Envelope> {
        let db = Sqlite::open(&self.config.data.join("view.db"), &[]).await.unwrap();
        let letters = Inbox::new(db, CONSUMER).list(None, None, 100).await.unwrap();
        letters.into_iter().map(|letter| letter.event).collect()
    }

    /// Opens a shop with the default settings.
    pub async fn open() -> Self {
        Self::with(|_| {}).await
    }

    /// Opens a shop whose settings were changed by `adjust`.
    pub async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (issuer, catalogue) = (Issuer::start().await, Catalogue::start().await);
        let credentials = folder.path().join("credentials.json");
        std::fs::write(&credentials, r#"{"email": "orders@services.test", "password": "any"}"#).unwrap();
        let mut config = Config {
            data: folder.path().join("orders"),
            bus: folder.path().join("bus"),
            auth: AuthConfig { users: issuer.target(), credentials, ..AuthConfig::default() },
            products: catalogue.target(),
            ..Config::default()
        };
        adjust(&mut config);
        let bus = SqliteBus::open(&config.bus).await.unwrap();
        let store = SqliteEventStore::open(&config.data.join("events.db"), 4).await.unwrap();
        let service = run(&config);
        let inventory = Inventory::on(bus.clone(), config.data.join("view.db"));
        Self { issuer, catalogue, inventory, bus, store, config, service, _folder: folder }
    }

    /// A caller with a good token.
    pub fn caller(&self, user: &str, role: &str) -> Client {
        self.bearing(Some(&self.issuer.token(user, role)))
    }

    /// A customer.
    pub fn customer(&self, user: &str) -> Client {
        self.caller(user, "customer")
    }

    /// Somebody of the staff.
    pub fn staff(&self) -> Client {
        self.caller("sam", "staff")
    }

    /// A caller with this token, or none.
    pub fn bearing(&self, token: Option<&str>) -> Client {
        let header = token.map(|token| format!("Bearer {token}").parse().unwrap());
        let channel = Endpoint::from_shared(self.service.address.clone()).unwrap().connect_lazy();
        OrderServiceClient::with_interceptor(channel, Bearer(header))
    }

    /// A caller of what administers projections.
    pub fn projections(&self, user: &str, role: &str) -> ProjectionServiceClient<InterceptedService<Channel, Bearer>> {
        let header = Some(format!("Bearer {}", self.issuer.token(user, role)).parse().unwrap());
        let channel = Endpoint::from_shared(self.service.address.clone()).unwrap().connect_lazy();
        ProjectionServiceClient::with_interceptor(channel, Bearer(header))
    }

    /// A caller of what shows what is parked.
    pub fn letters(&self, user: &str, role: &str) -> DeadLetterServiceClient<InterceptedService<Channel, Bearer>> {
        let header = Some(format!("Bearer {}", self.issuer.token(user, role)).parse().unwrap());
        let channel = Endpoint::from_shared(self.service.address.clone()).unwrap().connect_lazy();
        DeadLetterServiceClient::with_interceptor(channel, Bearer(header))
    }

    /// Changes the event store's file under the service, where `?` stands for the order.
    pub async fn store_sql(&self, sql: &'static str, name: &str) {
        self.sql("events.db", sql, name).await;
    }

    /// Changes the file of the lists and of what is parked under the service, where `?` stands for the order.
    pub async fn view_sql(&self, sql: &'static str, name: &str) {
        self.sql("view.db", sql, name).await;
    }

    async fn sql(&self, file: &str, sql: &'static str, name: &str) {
        let db = Sqlite::open(&self.config.data.join(file), &[]).await.unwrap();
        let name = name.to_owned();
        let changed = db.write_once::<_, meshwork_sql::Error, _>(move |connection| {
            Box::pin(async move { Ok(sqlx::query(sql).bind(name).execute(connection).await?.rows_affected()) })
        });
        assert_eq!(changed.await.unwrap(), 1, "{sql}");
    }

    /// Places an order of two teas for `users/{user}`.
    pub async fn order(&self, user: &str) -> Order {
        self.customer(user).create_order(placement(&[("tea", 2)])).await.unwrap().into_inner()
    }

    /// Places an order and waits until it is confirmed.
    pub async fn confirmed(&self, user: &str) -> Order {
        let order = self.order(user).await;
        self.inventory.reserves(&order.name).await;
        self.when(&order.name, order::State::Confirmed).await
    }

    /// Places an order and waits until it can be shipped.
    pub async fn allocated(&self, user: &str) -> Order {
        let order = self.confirmed(user).await;
        self.inventory.allocates(&order.name).await;
        self.inventory.was_heard().await;
        let order = self.get(&order.name).await;
        assert!(order.allocate_time.is_some());
        order
    }

    /// The order as it is.
    pub async fn get(&self, name: &str) -> Order {
        self.staff()
            .get_order(proto::GetOrderRequest { name: name.to_owned(), ..Default::default() })
            .await
            .unwrap()
            .into_inner()
    }

    /// The order as soon as it is in a state.
    pub async fn when(&self, name: &str, state: order::State) -> Order {
        eventually(&format!("{name} to be {state:?}"), async || self.get(name).await.state() == state).await;
        self.get(name).await
    }

    /// Everything that the event store holds.
    pub async fn commits(&self) -> Vec<Commit> {
        let mut commits = Vec::new();
        for partition in 0..self.store.partitions() {
            commits.extend(self.store.read_partition(partition, 0, usize::MAX).await.unwrap());
        }
        commits
    }

    /// Claims the id of a request in a stream of its own.
    pub async fn claim(&self, request: &RequestKey) {
        let orders = EventOrderStore::new(Arc::new(self.store.clone()));
        orders.claim(request, OffsetDateTime::now_utc()).await.unwrap();
    }

    /// Places an order of two teas as a request does that has chosen its id, without a look at what else its id has come with.
    pub async fn place_unseen(&self, request: &RequestKey, name: &str) {
        self.claim(request).await;
        let OrderEvent::Created { customer, lines, .. } = created("anna") else { panic!("no order is made") };
        let id = format!("create/{}/{}", request.principal, request.id);
        let key = CommandKey { id, hash: request.hash, request: Some(request.clone()) };
        let orders = EventOrderStore::new(Arc::new(self.store.clone()));
        let create = Command::Create { customer, lines };
        orders.create(&name.parse().unwrap(), &create, &key, OffsetDateTime::now_utc()).await.unwrap();
    }

    /// Appends an event to an order's history that nobody can read.
    pub async fn damage(&self, name: &str) {
        let garbage = NewEvent { event_type: "order_confirmed", schema_version: 1, data: Bytes::from_static(&[0xff]) };
        let append = Append {
            stream: name.to_owned(),
            expected: Expected::Any,
            command_id: "damage".to_owned(),
            command_hash: [0; 32],
            events: vec![garbage],
            result: Bytes::new(),
            at: OffsetDateTime::now_utc(),
            context: meshwork_eventstore::Context::default(),
        };
        self.store.append(append).await.unwrap();
    }

    /// The types of the events of an order's history.
    pub async fn history(&self, name: &str) -> Vec<String> {
        let commits = self.store.read(name, 0).await.unwrap();
        commits.into_iter().flat_map(|commit| commit.events).map(|event| event.event_type).collect()
    }

    /// What the service has published about an order, once it is all that its history holds.
    pub async fn published(&self, name: &str) -> Vec<Envelope> {
        let lane = lane("orders", partition_of(name, PARTITIONS));
        let fetch = async || {
            let all = read_all(self.bus.as_ref(), &lane).await;
            all.into_iter().filter(|event| event.subject == name).collect::<Vec<_>>()
        };
        let length = self.history(name).await.len();
        eventually(&format!("the {length} events of {name} on the bus"), async || fetch().await.len() >= length).await;
        fetch().await
    }

    /// Publishes an event of an account, as the users service does.
    pub async fn users_say(&self, event_type: &str, user: &str, version: i64, data: Vec<u8>) {
        let partition = partition_of(user, PARTITIONS);
        let lane = lane("users", partition);
        let n = tail(self.bus.as_ref(), &lane).await.map_or(0, |tail| tail.position.n) + 1;
        let event = Envelope {
            id: Envelope::id_of(user, version),
            source: "users".to_owned(),
            event_type: event_type.to_owned(),
            schema_version: 1,
            subject: user.to_owned(),
            version,
            position: Position { partition, n, index: 0 },
            time: OffsetDateTime::now_utc(),
            context: Context { actor: user.to_owned(), ..Context::default() },
            data: data.into(),
        };
        publish(self.bus.as_ref(), &lane, vec![event]).await;
    }

    /// Stops the service as a signal would, and waits for its end.
    pub async fn stop(&mut self) {
        self.service.shutdown.cancel();
        let task = tokio::time::timeout(PATIENCE, &mut self.service.task);
        task.await.expect("the service to stop").unwrap().unwrap();
    }

    /// Stops the service and starts it again, on another port. Callers have to be made anew.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start();
    }

    /// Starts the service after a stop.
    pub fn start(&mut self) {
        self.service = run(&self.config);
    }

    /// Restarts the service with a catalogue at a port where nobody listens.
    pub async fn lose_catalogue(&mut self) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.config.products = format!("http://{free}");
        self.restart().await;
    }
}

fn run(config: &Config) -> Service {
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("http://{}", listen.address());
    let shutdown = CancellationToken::new();
    let server = ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() };
    let task = tokio::spawn(meshwork_orders::serve(
        Config { listen, server, ..config.clone() },
        Health::new(),
        shutdown.clone(),
    ));
    Service { address, shutdown, task }
}

/// One line of an order.
pub fn line(product: &str, quantity: i64) -> order::Line {
    order::Line { product: product.to_owned(), quantity, ..order::Line::default() }
}

/// A request for pieces of `products/{id}`.
pub fn placement(pieces: &[(&str, i64)]) -> proto::CreateOrderRequest {
    let lines = pieces.iter().map(|(id, quantity)| line(&format!("products/{id}"), *quantity)).collect();
    proto::CreateOrderRequest { order: Some(Order { lines, ..Order::default() }), ..Default::default() }
}

/// A new UUID.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A request to cancel.
pub fn cancel(name: &str) -> proto::CancelOrderRequest {
    proto::CancelOrderRequest { name: name.to_owned(), ..Default::default() }
}

/// A request to ship, with a tracking number.
pub fn ship(name: &str) -> proto::ShipOrderRequest {
    let tracking_number = "TRACK-1".to_owned();
    proto::ShipOrderRequest { name: name.to_owned(), tracking_number, ..Default::default() }
}

/// A request to record the delivery.
pub fn deliver(name: &str) -> proto::DeliverOrderRequest {
    proto::DeliverOrderRequest { name: name.to_owned(), ..Default::default() }
}

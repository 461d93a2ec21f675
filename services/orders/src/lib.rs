//! The orders service: takes orders and follows them to the door.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | the order: `decide(state, command) -> events`, `evolve(state, event) -> state` |
//! | [`app`] | the use cases, commands and queries apart |
//! | [`ports`] | what the use cases need |
//! | [`adapters`] | gRPC, the event store, the read model and its projector, catalogue, customers, inventory |
//!
//! An order is the events that made it; they are all that is kept. The relay publishes them on the stream `orders`, the
//! consumer `orders` listens to the inventory on the stream `products` and to the end of accounts on the stream `users`, the
//! projector keeps the lists, and the watchdog sees to it that no order waits for ever.
//!
//! Events and lists lie in the service's folder (SQLite), or the events on a MongoDB, as [`Config`] has it.

pub mod adapters;
pub mod app;
mod config;
pub mod domain;
pub mod ports;
#[cfg(feature = "testing")]
pub mod testing;

use std::sync::Arc;
use std::time::Duration;

use meshwork_api::ProjectionName;
use meshwork_api::meshwork::admin::v1::audit_service_server::AuditServiceServer;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterServiceServer;
use meshwork_api::meshwork::admin::v1::event_source_service_server::EventSourceServiceServer;
use meshwork_api::meshwork::admin::v1::projection_service_server::ProjectionServiceServer;
use meshwork_api::meshwork::orders::v1::order_service_server::OrderServiceServer;
use meshwork_chassis::auth::{GrpcKeys, ServiceIdentity, Verifier};
use meshwork_chassis::events::{AuditGrpc, DeadLetterGrpc, EventSourceGrpc};
use meshwork_chassis::server::{self, ServeError, listen};
use meshwork_chassis::start::Start;
use meshwork_chassis::{Background, CancellationToken, Health, SystemClock, bus, checks, compressed};
use meshwork_events::{BestEffort, Bus, Consumer, ConsumerState, Progress, Relay, StoreSource};
use meshwork_eventstore::EventStore;
use meshwork_eventstore::projection::{ProjectionStore, Projections, Projector};
use meshwork_sql::AppliedMigration;

use crate::adapters::catalogue::GrpcCatalogue;
use crate::adapters::customer_events::{self, CustomerEvents};
use crate::adapters::customers::GrpcCustomers;
use crate::adapters::errors::DOMAIN;
use crate::adapters::event_store::{EventOrderStore, is_public};
use crate::adapters::grpc::OrderGrpc;
use crate::adapters::parked;
use crate::adapters::projections_grpc::ProjectionGrpc;
use crate::adapters::projector::Lag;
use crate::adapters::stock_events::{CONSUMER, STREAM, StockEvents};
pub use crate::adapters::stores::places;
use crate::adapters::stores::{self, Stores};
use crate::adapters::watchdog;
use crate::app::App;
use crate::app::commands::OpenOrders;
pub use crate::config::{Config, MongoConfig};
use crate::ports::Projection;
pub use meshwork_chassis::config::PostgresConfig;

/// The id of the projection that lists read.
const PROJECTION: &str = "orders";

/// The stream that we publish to.
const PUBLISHED: &str = "orders";

/// The streams that we consume.
const CONSUMED: [&str; 2] = [STREAM, customer_events::STREAM];

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);

/// Brings the service's databases and the bus to this release, whatever `migrations` says of the start.
///
/// # Errors
/// When one can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    config.check()?;
    let mut applied = stores::migrate(config).await?;
    applied.extend(bus::migrate("orders", &config.bus, &config.nats, &[PUBLISHED]).await?);
    Ok(applied)
}

/// Runs the service until `shutdown`; `health` tells how it is.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    let listener = listen(&config.listen)?;
    let start = Start::new(config.migrations, &health, &shutdown);
    let Some(stores) = stores::open(&config, &start).await? else { return Ok(()) };
    let Stores { events: store, snapshots, lists, view, inbox, replicas } = stores;
    let lanes = [(customer_events::STREAM, config.users_shards)];
    let bus = bus::open("orders", &config.bus, &config.nats, &lanes).await?;
    let streams = || bus::require(&bus, &config.nats, &[PUBLISHED, STREAM, customer_events::STREAM]);
    let Some(()) = start.require(config.nats.is_set(), streams).await? else { return Ok(()) };
    start.done();

    let users = config.client.channel("orders.auth.users", &config.auth.users)?;
    let identity = ServiceIdentity::new(config.auth.credentials.clone(), users.clone()).credentials(DOMAIN);
    let products = identity.channel(config.client.channel("orders.products", &config.products)?);
    let projected = Progress::new(store.partitions());
    let app = App {
        store: Arc::new(EventOrderStore::new(store.clone()).with_snapshots(snapshots)),
        read_model: lists,
        following: Arc::new(projected.clone()),
        catalogue: Arc::new(GrpcCatalogue::new(products)),
        customers: Arc::new(GrpcCustomers::new(identity.channel(users.clone()))),
        open_orders: Arc::new(OpenOrders::new(config.max_open_orders_per_customer)),
        former: Arc::default(),
        clock: Arc::new(SystemClock),
    };

    // A file is this instance's own. A server is the same for all of them, and what needs the other one still works.
    let (on_mongo, on_postgres) = (config.mongo.options()?.is_some(), config.postgres.options().is_some());
    let ping = |store: Arc<dyn EventStore>| async move { store.ping().await };
    health.check(checks::shared("event store", store.clone(), ping).required(!on_mongo));
    let ping = |view: Arc<dyn ProjectionStore>| async move { view.ping().await };
    health.check(checks::shared("read model", view.clone(), ping).required(!on_postgres));
    if let Some(check) = replicas {
        health.check(check);
    }
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<dyn Bus>| async move { bus.ping().await }));

    let orders: Arc<dyn Projection> = Arc::new(Projections::new(store.clone(), view.clone()));
    let projections = ProjectionName::new(PROJECTION).into_iter().map(|name| (name, orders.clone())).collect();

    // Background work ends after the last call, so that what a call has written is still published.
    let mut background = Background::new();
    // What an event does lies in the event store: it is done without the database of the lists too.
    let inbox: Arc<dyn ConsumerState> = Arc::new(BestEffort::new(inbox));
    let source = Arc::new(StoreSource::new(store.clone(), "orders", is_public));
    // Its effects are commits, which know the events that have caused them.
    let audit = AuditGrpc::new(bus.clone(), DOMAIN).source(source.clone(), PUBLISHED);
    let audit = audit.consumer(inbox.clone(), &CONSUMED, false);
    let relay = Relay::new(source.clone(), bus.clone(), PUBLISHED).checkpoint(inbox.clone()).parking(inbox.clone());
    let handler = Arc::new(StockEvents::new(app.clone(), inbox.clone()));
    let consumer = Consumer::new(bus.clone(), CONSUMER, STREAM, handler, inbox.clone());
    let handler = Arc::new(CustomerEvents::new(app.clone(), inbox.clone()));
    let customers = Consumer::new(bus, CONSUMER, customer_events::STREAM, handler, inbox.clone());
    health.check(checks::dead_letters(inbox.clone()));
    // All park in one database. An event of ours waits to be published; one of others, to be handled.
    let mut redrivers =
        vec![(Some(STREAM), consumer.redriver()), (Some(customer_events::STREAM), customers.redriver())];
    redrivers.extend(relay.redriver().map(|redriver| (Some(PUBLISHED), redriver)));
    let letters = DeadLetterGrpc::new(inbox, redrivers, "orders", DOMAIN);
    health.check(checks::lag("relay", LAG, relay.progress()));
    health.check(checks::lag("consumer of products", LAG, consumer.progress()));
    health.check(checks::lag("consumer of users", LAG, customers.progress()));
    health.check(checks::lag("projector", LAG, projected.clone()));
    background.spawn("relay", |stop| async move { relay.run(stop).await });
    background.spawn("consumer of products", |stop| async move { consumer.run(stop).await });
    background.spawn("consumer of users", |stop| async move { customers.run(stop).await });
    background.spawn("orders of deleted customers", |stop| customer_events::run(app.clone(), stop));
    let projector = Projector::new(store, view.clone(), Arc::new(Lag(projected)));
    background.spawn("projector", |stop| projector.run(stop));
    background.spawn("parked claims", |stop| parked::run(view, orders, stop));
    let (interval, patience) = (config.watchdog_interval, config.reservation_timeout);
    background.spawn("watchdog", |stop| watchdog::run(app.clone(), interval, patience, stop));

    let keys = Arc::new(GrpcKeys::new(users));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let server = server::builder(&config.server, DOMAIN, &verifier, &health)?
        .add_service(compressed!(OrderServiceServer::new(OrderGrpc::new(app))))
        .add_service(compressed!(ProjectionServiceServer::new(ProjectionGrpc::new(projections))))
        .add_service(compressed!(EventSourceServiceServer::new(EventSourceGrpc::new(source, DOMAIN))))
        .add_service(compressed!(AuditServiceServer::new(audit)))
        .add_service(compressed!(DeadLetterServiceServer::new(letters)));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}

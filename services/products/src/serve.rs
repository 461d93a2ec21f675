//! Puts the service together and runs it.

use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::products::v1::inventory_service_server::InventoryServiceServer;
use meshwork_api::meshwork::products::v1::product_service_server::ProductServiceServer;
use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::background::Background;
use meshwork_chassis::checks;
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::{CancellationToken, Health, ServeError, SystemClock, compressed};
use meshwork_events::{Consumer, EventBus as _, Relay, SqliteBus};
use meshwork_sql::AppliedMigration;

use crate::Config;
use crate::adapters::errors::DOMAIN;
use crate::adapters::grpc::{InventoryGrpc, ProductsGrpc};
use crate::adapters::orders_events::{CONSUMER, OrderEvents, STREAM};
use crate::adapters::sqlite::SqliteStore;
use crate::adapters::sweeper;
use crate::app::App;

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);
/// The stream that we publish to.
const PUBLISHED: &str = "products";

/// Runs the service until `shutdown`. When it returns, its background tasks have ended. `health` tells how it is.
///
/// # Errors
/// When a setting is wrong, the store or the bus can't be opened, the address can't be bound, or a part of it fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    let reservation_ttl = config.hold()?;
    let users = config.client.channel("products.auth.users", &config.auth.users)?;
    let keys = Arc::new(GrpcKeys::new(users));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let listener = listen(&config.listen)?;
    let store = SqliteStore::open(&config.data).await.map_err(store_error)?;
    let bus = SqliteBus::open(&config.bus).await.map_err(store_error)?;

    let app = App {
        catalogue: Arc::new(store.clone()),
        inventory: Arc::new(store.clone()),
        clock: Arc::new(SystemClock),
        reservation_ttl,
    };
    let server = server::builder(&config.server, DOMAIN, &verifier, &health)
        .add_service(compressed!(ProductServiceServer::new(ProductsGrpc::new(app.clone()))))
        .add_service(compressed!(InventoryServiceServer::new(InventoryGrpc::new(app.clone()))));

    health.check(checks::own("database", store.clone(), |store: SqliteStore| async move { store.ping().await }));
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<SqliteBus>| async move { bus.ping().await }));
    let relay = Relay::new(store.events(), bus.clone(), PUBLISHED);
    let consumer = Consumer::new(bus, CONSUMER, STREAM, Arc::new(OrderEvents::new(app.clone())), store.inbox(CONSUMER));
    let (relayed, consumed) = (relay.progress(), consumer.progress());
    health.check(checks::lag("relay", LAG, move || relayed.lag()));
    health.check(checks::lag("consumer of orders", LAG, move || consumed.lag()));
    // When a task ends by itself, reservations stand still.
    let mut background = Background::new();
    background.spawn("relay", |stop| async move { relay.run(stop).await });
    background.spawn("consumer of orders", |stop| async move { consumer.run(stop).await });
    background.spawn("sweeper", |stop| sweeper::run(app, config.sweep_interval, stop));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}

/// Brings the store and the bus to the form that this version needs, without serving; returns what they hold.
///
/// # Errors
/// When a database can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    let mut applied = SqliteStore::migrate(&config.data).await.map_err(store_error)?;
    applied.extend(SqliteBus::migrate(&config.bus).await.map_err(store_error)?);
    Ok(applied)
}

fn store_error(error: meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "check that the folder exists, can be written to and has space left")
}

//! Puts the service together and runs it.

use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::products::v1::inventory_service_server::InventoryServiceServer;
use meshwork_api::meshwork::products::v1::product_service_server::ProductServiceServer;
use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::server::{GrpcServer, listen};
use meshwork_chassis::{CancellationToken, ServeError, SystemClock, connect};
use meshwork_events::{Consumer, Relay, SqliteBus};
use meshwork_sql::AppliedMigration;
use tokio::task::JoinSet;

use crate::Config;
use crate::adapters::errors::DOMAIN;
use crate::adapters::grpc::{InventoryGrpc, ProductsGrpc};
use crate::adapters::orders_events::{CONSUMER, OrderEvents, STREAM};
use crate::adapters::sqlite::SqliteStore;
use crate::adapters::sweeper;
use crate::app::App;

/// The stream that we publish to.
const PUBLISHED: &str = "products";
/// How long background tasks may take to end.
const STOP: Duration = Duration::from_secs(5);

/// Runs the service until `shutdown`. When it returns, its background tasks have ended.
///
/// # Errors
/// When a setting is wrong, the store or the bus can't be opened, the address can't be bound, or a part of it fails.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let reservation_ttl = config.hold()?;
    let users = connect(&config.auth.users)
        .map_err(|error| ServeError::new(error, "set auth.users to the address of the users service"))?;
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
    let server = GrpcServer::new(verifier, DOMAIN, &[])
        .await
        .service(ProductServiceServer::new(ProductsGrpc::new(app.clone())))
        .await
        .service(InventoryServiceServer::new(InventoryGrpc::new(app.clone())))
        .await;

    let relay = Relay::new(store.events(), bus.clone(), PUBLISHED);
    let consumer = Consumer::new(bus, CONSUMER, STREAM, Arc::new(OrderEvents::new(app.clone())));
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let token = stop.clone();
    tasks.spawn(async move { relay.run(token).await });
    let token = stop.clone();
    tasks.spawn(async move { consumer.run(token).await });
    tasks.spawn(sweeper::run(app, config.sweep_interval, stop.clone()));

    // When a task ends by itself, reservations stand still: then the whole service ends, so that it is started again.
    let drain = shutdown.child_token();
    let served = server.serve(listener, std::future::ready(()), drain.clone());
    tokio::pin!(served);
    let (served, failed) = tokio::select! {
        served = &mut served => (served, false),
        _ = tasks.join_next() => {
            drain.cancel();
            (served.await, true)
        }
    };
    // A server that fails by itself leaves its own tasks running otherwise.
    drain.cancel();
    stop.cancel();
    if tokio::time::timeout(STOP, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(seconds = STOP.as_secs(), "background tasks were still busy when the time to stop was over");
        tasks.shutdown().await;
    }
    served?;
    if failed {
        return Err(ServeError::new("a background task of the products service has failed", "look into the log"));
    }
    Ok(())
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

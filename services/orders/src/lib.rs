//! The orders service: takes orders and follows them to the door.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | the order: `decide(state, command) -> events`, `evolve(state, event) -> state` |
//! | [`app`] | the use cases, commands and queries apart |
//! | [`ports`] | what the use cases need |
//! | [`adapters`] | gRPC, the event store, the read model and its projector, the catalogue, the inventory's events |
//!
//! An order is the events that made it; they are all that is kept. The relay publishes them on the stream `orders`, the
//! consumer `orders` listens to the inventory on the stream `products`, the projector keeps the lists, and the watchdog
//! sees to it that no order waits for ever.

pub mod adapters;
pub mod app;
pub mod domain;
pub mod ports;
#[cfg(feature = "testing")]
pub mod testing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::orders::v1::order_service_server::OrderServiceServer;
use meshwork_chassis::auth::{GrpcKeys, ServiceIdentity, Verifier};
use meshwork_chassis::background::Background;
use meshwork_chassis::checks;
use meshwork_chassis::config::{AuthConfig, Listen};
use meshwork_chassis::server::{self, ServeError, ServerConfig, listen};
use meshwork_chassis::{CancellationToken, ClientConfig, Health, SystemClock, compressed};
use meshwork_events::{Consumer, EventBus as _, Progress, Relay, SqliteBus, StoreSource};
use meshwork_eventstore::{EventStore, SqliteEventStore};
use meshwork_sql::AppliedMigration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapters::catalogue::GrpcCatalogue;
use crate::adapters::errors::DOMAIN;
use crate::adapters::event_store::{EventOrderStore, is_public};
use crate::adapters::grpc::OrderGrpc;
use crate::adapters::read_model::SqliteReadModel;
use crate::adapters::stock_events::StockEvents;
use crate::adapters::{projector, watchdog};
use crate::app::App;

/// How many partitions the event store has. A store keeps the number it was made with.
const PARTITIONS: u16 = 4;

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);

/// The service's settings.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address of the gRPC port.
    pub listen: Listen,
    /// The folder of the service's databases.
    pub data: PathBuf,
    /// The folder of the event bus.
    pub bus: PathBuf,
    /// How callers are known, and who this service is to others.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// How this service calls others.
    pub client: ClientConfig,
    /// The products service: a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
    pub products: String,
    /// How long the inventory may take to answer for an order before it is asked again. It should exceed the time for
    /// which the inventory holds pieces.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub reservation_timeout: Duration,
    /// How often the service looks for orders that wait too long.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub watchdog_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::from(std::net::SocketAddr::from(([127, 0, 0, 1], 8083))),
            data: PathBuf::from("meshwork-data/orders"),
            bus: PathBuf::from("meshwork-data/bus"),
            auth: AuthConfig::default(),
            server: ServerConfig::default(),
            client: ClientConfig::default(),
            products: "http://127.0.0.1:8082".to_owned(),
            reservation_timeout: Duration::from_secs(660),
            watchdog_interval: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ServeError> {
        let (least, hour) = (Duration::from_millis(10), Duration::from_secs(3600));
        let spans = [
            ("watchdog_interval", self.watchdog_interval, hour, "10ms to 1h"),
            ("reservation_timeout", self.reservation_timeout, hour * 24 * 30, "10ms to 30 days"),
        ];
        for (key, value, most, right) in spans {
            if value < least || value > most {
                let shown = humantime_serde::re::humantime::format_duration(value);
                return Err(ServeError::new(format!("orders.{key} is {shown}"), format!("it must be {right}")));
            }
        }
        Ok(())
    }
}

fn events_file(data: &Path) -> PathBuf {
    data.join("events.db")
}

fn view_file(data: &Path) -> PathBuf {
    data.join("view.db")
}

fn store_error(error: meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "look whether the data folder can be written and the disk has room")
}

/// Brings the service's databases to this release.
///
/// # Errors
/// When one can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    let mut applied = SqliteEventStore::migrate(&events_file(&config.data)).await.map_err(store_error)?;
    applied.extend(SqliteReadModel::migrate(&view_file(&config.data)).await.map_err(store_error)?);
    Ok(applied)
}

/// Runs the service until `shutdown`; `health` tells how it is.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    let listener = listen(&config.listen)?;
    let store: Arc<dyn EventStore> =
        Arc::new(SqliteEventStore::open(&events_file(&config.data), PARTITIONS).await.map_err(store_error)?);
    let view = SqliteReadModel::open(&view_file(&config.data)).await.map_err(store_error)?;
    let bus = SqliteBus::open(&config.bus).await.map_err(store_error)?;

    let users = config.client.channel("orders.auth.users", &config.auth.users)?;
    let identity = ServiceIdentity::new(config.auth.credentials.clone(), users.clone(), DOMAIN);
    let products = identity.channel(config.client.channel("orders.products", &config.products)?);
    let app = App {
        store: Arc::new(EventOrderStore::new(store.clone())),
        read_model: Arc::new(view.clone()),
        catalogue: Arc::new(GrpcCatalogue::new(products)),
        clock: Arc::new(SystemClock),
    };

    health.check(checks::own(
        "event store",
        store.clone(),
        |store: Arc<dyn EventStore>| async move { store.ping().await },
    ));
    health.check(checks::own("read model", view.clone(), |view: SqliteReadModel| async move { view.ping().await }));
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<SqliteBus>| async move { bus.ping().await }));

    // Background work ends after the last call, so that what a call has written is still published.
    let mut background = Background::new();
    let relay = Relay::new(Arc::new(StoreSource::new(store.clone(), "orders", is_public)), bus.clone(), "orders");
    let consumer = Consumer::new(bus, "orders", "products", Arc::new(StockEvents::new(app.clone())));
    let (relayed, consumed, projected) = (relay.progress(), consumer.progress(), Progress::new(store.partitions()));
    health.check(checks::lag("relay", LAG, move || relayed.lag()));
    health.check(checks::lag("consumer of products", LAG, move || consumed.lag()));
    let progress = projected.clone();
    health.check(checks::lag("projector", LAG, move || progress.lag()));
    background.spawn("relay", |stop| async move { relay.run(stop).await });
    background.spawn("consumer of products", |stop| async move { consumer.run(stop).await });
    background.spawn("projector", |stop| projector::run(projected, store, view, stop));
    let (interval, patience) = (config.watchdog_interval, config.reservation_timeout);
    background.spawn("watchdog", |stop| watchdog::run(app.clone(), interval, patience, stop));

    let keys = Arc::new(GrpcKeys::new(users));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let server = server::builder(&config.server, DOMAIN, &verifier, &health)
        .add_service(compressed!(OrderServiceServer::new(OrderGrpc::new(app))));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_bounded() {
        assert!(Config::default().check().is_ok());
        let never = Config { watchdog_interval: Duration::ZERO, ..Config::default() };
        assert_eq!(never.check().unwrap_err().sentence, "orders.watchdog_interval is 0s");
        let endless = Config { reservation_timeout: Duration::MAX, ..Config::default() };
        assert!(endless.check().unwrap_err().sentence.starts_with("orders.reservation_timeout is "));
    }
}

//! All settings of the back end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use meshwork_chassis::config::{CacheConfig, Listen, Migrations, NatsConfig, OptionalListen, RedisConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All settings of the back end.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder of all databases, keys and mails. Other folders lie in it unless they are set.
    pub data: PathBuf,
    /// The address of the HTTP port with /livez, /readyz, /health and /metrics.
    pub ops: Listen,
    /// The address of a gRPC port for probes, in plain text and without identities, that answers health checks and nothing else: for
    /// those that can't speak the TLS of the services' own ports. Empty: none.
    pub health: OptionalListen,
    /// What a service does at its start about tables, indexes and streams that its servers lack: with `apply` it makes them; with
    /// `wait` it makes none, and waits until the servers are there and `meshwork migrate` has made them. What lies in the folder is
    /// brought to this release by every start.
    pub migrations: Migrations,
    /// What is logged to standard error.
    pub log: Log,
    /// Where the event bus is, if not in the folder: for all services, but for what one says of its own.
    pub nats: NatsConfig,
    /// The Redis behind the caches of users and products, and with the counts of the gateway's rate limit: for all of them,
    /// but for what one says of its own.
    pub redis: RedisConfig,
    /// The users service. `up` gives it a free port unless `listen` is set.
    pub users: meshwork_users::Config,
    /// The products service. `up` gives it a free port unless `listen` is set.
    pub products: meshwork_products::Config,
    /// The orders service. `up` gives it a free port unless `listen` is set.
    pub orders: meshwork_orders::Config,
    /// The notifications service. `up` gives it a free port unless `listen` is set.
    pub notifications: meshwork_notifications::Config,
    /// The gateway.
    pub gateway: meshwork_gateway::Config,
}

/// What is logged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Which events: a filter like `info` or `warn,meshwork_orders=debug`. By default the client of Redis logs errors only: it
    /// warns at each attempt to connect.
    pub filter: String,
    /// How they are written.
    pub format: LogFormat,
}

/// How log events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "warn,meshwork=info,fred=error".to_owned(), format: LogFormat::Text }
    }
}

/// The services on the event bus.
pub const ON_THE_BUS: [&str; 4] = ["users", "products", "orders", "notifications"];
/// The services with caches.
pub const WITH_CACHES: [&str; 2] = ["users", "products"];

impl Settings {
    /// The folder of the event bus and the NATS settings of each service of [`ON_THE_BUS`], in this order.
    pub fn buses(&self) -> [(&Path, &NatsConfig); 4] {
        [
            (&self.users.bus, &self.users.nats),
            (&self.products.bus, &self.products.nats),
            (&self.orders.bus, &self.orders.nats),
            (&self.notifications.bus, &self.notifications.nats),
        ]
    }

    /// The settings of the caches of each service of [`WITH_CACHES`], in this order, and those of the Redis behind them.
    pub fn caches(&self) -> [(&CacheConfig, &RedisConfig); 2] {
        [(&self.users.cache, &self.users.redis), (&self.products.cache, &self.products.redis)]
    }

    /// Gives the services what they have no setting of their own for.
    pub fn hand_down(&mut self) {
        for migrations in [
            &mut self.users.migrations,
            &mut self.products.migrations,
            &mut self.orders.migrations,
            &mut self.notifications.migrations,
        ] {
            *migrations = self.migrations;
        }
    }

    /// Whether all that is migrated is on servers: then the folder holds nothing of it.
    pub fn is_migrated_on_servers(&self) -> bool {
        let services = self.users.is_on_servers() && self.products.is_on_servers() && self.orders.is_on_servers();
        let notifications = !self.notifications.postgres.url.expose().is_empty();
        services && notifications && self.buses().iter().all(|(_, nats)| nats.is_set())
    }

    /// The defaults, with all folders in `data`.
    pub fn in_folder(data: &Path) -> Self {
        let bus = data.join("bus");
        let credentials = data.join("credentials");
        let mut settings = Self {
            data: data.to_owned(),
            ops: SocketAddr::from(([127, 0, 0, 1], 9090)).into(),
            health: OptionalListen::default(),
            migrations: Migrations::default(),
            log: Log::default(),
            nats: NatsConfig::default(),
            redis: RedisConfig::default(),
            users: meshwork_users::Config::default(),
            products: meshwork_products::Config::default(),
            orders: meshwork_orders::Config::default(),
            notifications: meshwork_notifications::Config::default(),
            gateway: meshwork_gateway::Config::default(),
        };
        settings.users.data = data.join("users");
        settings.products.data = data.join("products");
        settings.orders.data = data.join("orders");
        settings.notifications.data = data.join("notifications");
        settings.users.bus.clone_from(&bus);
        settings.products.bus.clone_from(&bus);
        settings.orders.bus.clone_from(&bus);
        settings.notifications.bus = bus;
        settings.products.auth.credentials = credentials.join("products.json");
        settings.orders.auth.credentials = credentials.join("orders.json");
        settings.notifications.auth.credentials = credentials.join("notifications.json");
        settings.users.credentials = credentials;
        settings
    }
}

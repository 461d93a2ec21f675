//! Settings.

mod bounds;
mod mongo;

use std::path::PathBuf;
use std::time::Duration;

use meshwork_chassis::ClientConfig;
use meshwork_chassis::config::{AuthConfig, Listen, Migrations, NatsConfig, PostgresConfig};
use meshwork_chassis::server::{ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::mongo::MongoConfig;
pub(crate) use self::mongo::PARTITIONS;

/// The service's settings.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address of the gRPC port.
    pub listen: Listen,
    /// Whether a start makes what its servers lack, or waits for who does. It is what `migrations` is for all services.
    #[serde(skip)]
    pub migrations: Migrations,
    /// The folder of the service's databases.
    pub data: PathBuf,
    /// The folder of the event bus, when it is not on NATS.
    pub bus: PathBuf,
    /// Where the event bus is, if not in the folder. What is not set here is as `nats` has it.
    pub nats: NatsConfig,
    /// How callers are known, and who this service is to others.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// Where the orders' events are, if not in the folder.
    pub mongo: MongoConfig,
    /// Where the lists of orders are, if not in the folder.
    pub postgres: PostgresConfig,
    /// How many shards the users service has, its highest shard's number and one: its events come on so many times four lanes.
    pub users_shards: u16,
    /// How this service calls others.
    pub client: ClientConfig,
    /// The products service: a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
    pub products: String,
    /// How many orders a customer may have that are pending or confirmed. One more is refused as RESOURCE_EXHAUSTED,
    /// but for those that staff place for a customer. They are counted in the lists from time to time, so that a few
    /// more may come through, and none is refused while the lists' database doesn't answer. 0: no limit.
    pub max_open_orders_per_customer: u32,
    /// How long the inventory may be silent about an order before it is asked again: about one that waits to be confirmed,
    /// and about one that is confirmed and waits for its pieces to be allocated. In each of both it is asked three times,
    /// and then the order ends, rejected or cancelled. It should exceed the time for which the inventory holds pieces.
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
            migrations: Migrations::default(),
            data: PathBuf::from("meshwork-data/orders"),
            bus: PathBuf::from("meshwork-data/bus"),
            nats: NatsConfig::default(),
            auth: AuthConfig::default(),
            server: ServerConfig::default(),
            mongo: MongoConfig::default(),
            postgres: PostgresConfig::default(),
            users_shards: 1,
            client: ClientConfig::default(),
            products: "http://127.0.0.1:8082".to_owned(),
            max_open_orders_per_customer: 10_000,
            reservation_timeout: Duration::from_secs(660),
            watchdog_interval: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Whether all that the service keeps is on servers, so that it may run several times.
    pub fn is_on_servers(&self) -> bool {
        !self.mongo.uri.expose().is_empty() && !self.postgres.url.expose().is_empty()
    }

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
        if !(1..=64).contains(&self.users_shards) {
            return Err(ServeError::new(format!("orders.users_shards is {}", self.users_shards), "it must be 1 to 64"));
        }
        self.nats.check("orders.nats")?;
        self.mongo.check()?;
        self.postgres.check("orders")
    }
}

/// The servers that a connection string names, without what is secret in it.
pub(crate) fn servers(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    rest.rsplit_once('@').map_or(rest, |(_, servers)| servers)
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
        let none = Config { users_shards: 0, ..Config::default() };
        assert_eq!(none.check().unwrap_err().sentence, "orders.users_shards is 0");
    }

    #[test]
    fn servers_are_shown_without_what_is_secret() {
        for (uri, shown) in [
            ("mongodb://127.0.0.1:27017", "127.0.0.1:27017"),
            ("mongodb://anna:secret@a:1,b:2/admin?tls=true", "a:1,b:2"),
            ("postgres://anna:se%40cret@db/orders", "db"),
            ("mongodb+srv://anna:secret@cluster.example?x=y@z", "cluster.example"),
        ] {
            assert_eq!(servers(uri), shown, "{uri}");
        }
    }
}

//! Settings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use meshwork_chassis::ClientConfig;
use meshwork_chassis::config::{AuthConfig, Listen, Secret};
use meshwork_chassis::server::{ServeError, ServerConfig};
use meshwork_eventstore::mongodb::{DatabaseRange, MongoOptions};
use meshwork_sql::PostgresOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many partitions the event store has: as many as a stream of the bus. A store keeps the number it was made with.
pub(crate) const PARTITIONS: u16 = 4;

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
    /// Where the orders' events are, if not in the folder.
    pub mongo: MongoConfig,
    /// Where the orders' lists are, if not in the folder.
    pub postgres: PostgresConfig,
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
            mongo: MongoConfig::default(),
            postgres: PostgresConfig::default(),
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
        self.mongo.check()?;
        self.postgres.check()
    }
}

/// A MongoDB, or a server that speaks its protocol, for the orders' events.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MongoConfig {
    /// The server, `mongodb://…` or `mongodb+srv://…`; TLS and credentials are parts of it. Empty: the events lie in the
    /// folder of the service.
    pub uri: Secret,
    /// The database.
    pub database: String,
    /// Partitions that live in databases of their own: `"0"` or `"0-1"` and the database. Those that have events can't be
    /// moved by this.
    pub databases: BTreeMap<String, String>,
    /// How many connections there are at most.
    pub max_connections: u32,
    /// How many connections are kept open.
    pub min_connections: u32,
    /// How long to wait for a connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How long to wait for a server that can be written to, as after a failover.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub server_selection_timeout: Duration,
    /// How long one read or write may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub operation_timeout: Duration,
    /// How long an append may take in all, with what has to be tried again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub append_timeout: Duration,
}

impl Default for MongoConfig {
    fn default() -> Self {
        let options = MongoOptions::new("");
        Self {
            uri: Secret::new(""),
            database: "meshwork_orders".to_owned(),
            databases: BTreeMap::new(),
            max_connections: options.max_connections,
            min_connections: options.min_connections,
            connect_timeout: options.connect_timeout,
            server_selection_timeout: options.server_selection_timeout,
            operation_timeout: options.operation_timeout,
            append_timeout: options.append_timeout,
        }
    }
}

/// A value of these settings is out of its range.
fn refuse(key: &str, value: impl std::fmt::Display, right: &str) -> ServeError {
    ServeError::new(format!("orders.mongo.{key} is {value}"), format!("it must be {right}"))
}

/// The first and the last partition that a key of `databases` names.
fn range(key: &str) -> Option<(u16, u16)> {
    let (first, last) = key.split_once('-').unwrap_or((key, key));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && last < PARTITIONS).then_some((first, last))
}

impl MongoConfig {
    /// Whether the values make sense.
    fn check(&self) -> Result<(), ServeError> {
        let uri = self.uri.expose();
        if !uri.is_empty() && !["mongodb://", "mongodb+srv://"].iter().any(|scheme| uri.starts_with(scheme)) {
            return Err(refuse("uri", "no address of a MongoDB", "mongodb://HOST:PORT, or empty"));
        }
        if !is_database(&self.database) {
            return Err(refuse("database", format!("{:?}", self.database), "1 to 63 letters, digits, `-` and `_`"));
        }
        if !(1..=1000).contains(&self.max_connections) {
            return Err(refuse("max_connections", self.max_connections, "1 to 1000"));
        }
        if self.min_connections > self.max_connections {
            return Err(refuse("min_connections", self.min_connections, "at most max_connections"));
        }
        for (key, value) in [
            ("connect_timeout", self.connect_timeout),
            ("server_selection_timeout", self.server_selection_timeout),
            ("operation_timeout", self.operation_timeout),
            ("append_timeout", self.append_timeout),
        ] {
            if value < Duration::from_millis(10) || value > Duration::from_secs(300) {
                let shown = humantime_serde::re::humantime::format_duration(value);
                return Err(refuse(key, shown, "10ms to 5m"));
            }
        }
        self.ranges().map(drop)
    }

    fn ranges(&self) -> Result<Vec<DatabaseRange>, ServeError> {
        let mut taken = [false; PARTITIONS as usize];
        let mut ranges = Vec::new();
        for (key, database) in &self.databases {
            let named = format!("databases.{key}");
            let (first, last) = range(key).ok_or_else(|| {
                let right = format!("for a partition below {PARTITIONS}, or a range of them such as \"0-1\"");
                refuse(&named, format!("{database:?}"), &right)
            })?;
            if !is_database(database) {
                return Err(refuse(&named, format!("{database:?}"), "1 to 63 letters, digits, `-` and `_`"));
            }
            for partition in &mut taken[usize::from(first)..=usize::from(last)] {
                if std::mem::replace(partition, true) {
                    return Err(refuse(&named, format!("{database:?}"), "for partitions that no other key names"));
                }
            }
            ranges.push(DatabaseRange { first, last, database: database.clone() });
        }
        Ok(ranges)
    }

    /// The event store's options; `None` when the events lie in the folder.
    pub(crate) fn options(&self) -> Result<Option<MongoOptions>, ServeError> {
        if self.uri.expose().is_empty() {
            return Ok(None);
        }
        Ok(Some(MongoOptions {
            database: self.database.clone(),
            partitions: PARTITIONS,
            databases: self.ranges()?,
            max_connections: self.max_connections,
            min_connections: self.min_connections,
            connect_timeout: self.connect_timeout,
            server_selection_timeout: self.server_selection_timeout,
            operation_timeout: self.operation_timeout,
            append_timeout: self.append_timeout,
            ..MongoOptions::new(self.uri.expose())
        }))
    }
}

/// A PostgreSQL for the orders' lists.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// The database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; TLS by `?sslmode=`. Empty: the lists lie in the folder
    /// of the service.
    pub url: Secret,
    /// How many connections there are at most.
    pub max_connections: u32,
    /// How many connections are kept open.
    pub min_connections: u32,
    /// How long to wait for a connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub statement_timeout: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        let options = PostgresOptions::new("");
        Self {
            url: Secret::new(""),
            max_connections: options.max_connections,
            min_connections: options.min_connections,
            acquire_timeout: options.acquire_timeout,
            statement_timeout: options.statement_timeout,
        }
    }
}

impl PostgresConfig {
    /// Whether the values make sense.
    fn check(&self) -> Result<(), ServeError> {
        let refuse = |key: &str, value: &dyn std::fmt::Display, right: &str| {
            Err(ServeError::new(format!("orders.postgres.{key} is {value}"), format!("it must be {right}")))
        };
        let url = self.url.expose();
        if !url.is_empty() && !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return refuse("url", &"no address of a PostgreSQL", "postgres://USER@HOST:PORT/DATABASE, or empty");
        }
        if !(2..=1000).contains(&self.max_connections) {
            return refuse("max_connections", &self.max_connections, "2 to 1000");
        }
        if self.min_connections > self.max_connections {
            return refuse("min_connections", &self.min_connections, "at most max_connections");
        }
        for (key, value) in [("acquire_timeout", self.acquire_timeout), ("statement_timeout", self.statement_timeout)] {
            if value < Duration::from_millis(10) || value > Duration::from_secs(300) {
                return refuse(key, &humantime_serde::re::humantime::format_duration(value), "10ms to 5m");
            }
        }
        Ok(())
    }

    /// The database's options; `None` when the lists lie in the folder.
    pub(crate) fn options(&self) -> Option<PostgresOptions> {
        let url = self.url.expose();
        (!url.is_empty()).then(|| PostgresOptions {
            max_connections: self.max_connections,
            min_connections: self.min_connections,
            acquire_timeout: self.acquire_timeout,
            statement_timeout: self.statement_timeout,
            ..PostgresOptions::new(url)
        })
    }
}

/// Whether every server takes this for the name of a database.
fn is_database(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
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
    }

    #[test]
    fn bad_settings_of_mongodb_are_refused_by_their_keys() {
        let config = MongoConfig::default;
        let databases =
            |key: &str, name: &str| MongoConfig { databases: [(key.to_owned(), name.to_owned())].into(), ..config() };
        let twice = [("0-1".to_owned(), "a".to_owned()), ("1".to_owned(), "b".to_owned())];
        for (key, bad) in [
            ("uri", MongoConfig { uri: Secret::new("http://secret@host"), ..config() }),
            ("database", MongoConfig { database: String::new(), ..config() }),
            ("database", MongoConfig { database: "a.b".to_owned(), ..config() }),
            ("max_connections", MongoConfig { max_connections: 0, ..config() }),
            ("min_connections", MongoConfig { min_connections: 33, ..config() }),
            ("append_timeout", MongoConfig { append_timeout: Duration::ZERO, ..config() }),
            ("databases.4", databases("4", "a")),
            ("databases.1-0", databases("1-0", "a")),
            ("databases.x", databases("x", "a")),
            ("databases.0", databases("0", "")),
            ("databases.1", MongoConfig { databases: twice.into(), ..config() }),
        ] {
            let refused = Config { mongo: bad, ..Config::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with(&format!("orders.mongo.{key} is ")), "{refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
    }

    #[test]
    fn bad_settings_of_postgresql_are_refused_by_their_keys() {
        let config = PostgresConfig::default;
        for (key, bad) in [
            ("url", PostgresConfig { url: Secret::new("http://secret@host"), ..config() }),
            ("max_connections", PostgresConfig { max_connections: 1, ..config() }),
            ("min_connections", PostgresConfig { min_connections: 17, ..config() }),
            ("statement_timeout", PostgresConfig { statement_timeout: Duration::ZERO, ..config() }),
        ] {
            let refused = Config { postgres: bad, ..Config::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with(&format!("orders.postgres.{key} is ")), "{refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
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

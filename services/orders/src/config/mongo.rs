//! The settings of the events' MongoDB.

use std::collections::BTreeMap;
use std::time::Duration;

use meshwork_chassis::ServeError;
use meshwork_chassis::config::Secret;
use meshwork_eventstore::mongodb::{DatabaseRange, MongoOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{self, check_times};

/// How many partitions the event store has: as many as a stream of the bus. A store keeps the number it was made with.
pub(crate) const PARTITIONS: u16 = 4;

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

/// A value is out of its range.
fn refuse(key: &str, value: impl std::fmt::Display, right: &str) -> ServeError {
    bounds::refuse(&format!("mongo.{key}"), value, right)
}

/// The first and the last partition that a key of `databases` names.
fn range(key: &str) -> Option<(u16, u16)> {
    let (first, last) = key.split_once('-').unwrap_or((key, key));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last && last < PARTITIONS).then_some((first, last))
}

impl MongoConfig {
    /// Whether the values make sense.
    pub(super) fn check(&self) -> Result<(), ServeError> {
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
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("server_selection_timeout", self.server_selection_timeout),
            ("operation_timeout", self.operation_timeout),
            ("append_timeout", self.append_timeout),
        ];
        check_times("mongo", &times)?;
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

/// Whether every server takes this for the name of a database.
fn is_database(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

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
}

//! The settings of the lists' PostgreSQL.

use std::time::Duration;

use meshwork_chassis::ServeError;
use meshwork_chassis::config::Secret;
use meshwork_sql::PostgresOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{check_times, refuse};

/// A PostgreSQL for the lists of orders.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// The database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; `sslmode` and `sslrootcert` are parameters of it. Empty:
    /// the lists lie in the folder of the service.
    pub url: Secret,
    /// How many connections there are at most.
    pub max_connections: u32,
    /// How many connections are kept open.
    pub min_connections: u32,
    /// How long to wait for a free connection.
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
    pub(super) fn check(&self) -> Result<(), ServeError> {
        let url = self.url.expose();
        if !url.is_empty() && !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(refuse(
                "postgres.url",
                "no address of a PostgreSQL",
                "postgres://HOST:PORT/DATABASE, or empty",
            ));
        }
        if !(1..=1000).contains(&self.max_connections) {
            return Err(refuse("postgres.max_connections", self.max_connections, "1 to 1000"));
        }
        if self.min_connections > self.max_connections {
            return Err(refuse("postgres.min_connections", self.min_connections, "at most max_connections"));
        }
        let times = [("acquire_timeout", self.acquire_timeout), ("statement_timeout", self.statement_timeout)];
        check_times("postgres", &times)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn bad_settings_of_postgresql_are_refused_by_their_keys() {
        let config = PostgresConfig::default;
        for (key, bad) in [
            ("url", PostgresConfig { url: Secret::new("mysql://secret@host"), ..config() }),
            ("max_connections", PostgresConfig { max_connections: 0, ..config() }),
            ("min_connections", PostgresConfig { min_connections: 17, ..config() }),
            ("statement_timeout", PostgresConfig { statement_timeout: Duration::ZERO, ..config() }),
        ] {
            let refused = Config { postgres: bad, ..Config::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with(&format!("orders.postgres.{key} is ")), "{refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
    }
}

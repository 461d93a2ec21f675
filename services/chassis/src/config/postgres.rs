//! The settings of a PostgreSQL.

use std::path::Path;
use std::time::Duration;

use meshwork_sql::PostgresOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::ServeError;

/// The parameters that a URL may have.
const PARAMETERS: [&str; 9] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "host",
    "port",
    "statement-cache-capacity",
];
/// The file in a service's folder that says where its data is.
const NOTE: &str = "on-postgres";

/// How many replicas a database may have.
const MAX_REPLICAS: usize = 16;

/// What reads of one resource may be answered from, when their caller doesn't say what it must have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reads {
    /// The primary alone.
    #[default]
    Primary,
    /// A replica within the bounds of lag as well.
    Bounded,
}

/// A PostgreSQL in place of a file in the folder of the service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// The database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; `sslmode` and `sslrootcert` are parameters of it. Empty:
    /// what would be there lies in the folder of the service.
    pub url: Secret,
    /// Read replicas of the database, each as `url`. Lists of users, products and orders are read from those that are close enough
    /// to the primary, and so is what names by a consistency token what it must have seen; all else, and everything while no
    /// replica is close enough, from the primary. One that is promoted is written to from then on.
    pub replicas: Vec<Secret>,
    /// How far behind the primary a replica may be that is read from, in time.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_lag: Duration,
    /// How far behind the primary a replica may be that is read from, in bytes of the primary's log.
    pub max_lag_bytes: u64,
    /// What a Get of a user, product or stock without a consistency token may be answered from: `primary`, or `bounded` for
    /// replicas within `max_lag` and `max_lag_bytes` as well. Users and products come from `cache` instead while that is enabled.
    pub reads: Reads,
    /// How many connections there are at most, to each of the servers.
    pub max_connections: u32,
    /// How many connections are kept open to the primary.
    pub min_connections: u32,
    /// How long to wait for a free connection, a new one's making included; for one to a replica at most half a second.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub acquire_timeout: Duration,
    /// How long a connection may be idle before it is closed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
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
            replicas: Vec::new(),
            max_lag: options.max_lag,
            max_lag_bytes: options.max_lag_bytes,
            reads: Reads::default(),
            max_connections: options.max_connections,
            min_connections: options.min_connections,
            acquire_timeout: options.acquire_timeout,
            idle_timeout: options.idle_timeout,
            statement_timeout: options.statement_timeout,
        }
    }
}

impl PostgresConfig {
    /// Whether the values make sense; `service` is whose they are, such as `orders`.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self, service: &str) -> Result<(), ServeError> {
        let refuse = |key: &str, value: &dyn std::fmt::Display, right: &str| {
            Err(ServeError::new(format!("{service}.postgres.{key} is {value}"), format!("it must be {right}")))
        };
        let of = |key: &str| format!("{service}.postgres.{key}");
        check_url(&of("url"), &self.url, Needed::No)?;
        check_replicas(&of("replicas"), &self.replicas)?;
        if self.url.expose().is_empty() && !self.replicas.is_empty() {
            return refuse(
                "replicas",
                &"set without a url",
                "empty, or the replicas of the database that the url names",
            );
        }
        if self.max_lag < Duration::from_millis(100) || self.max_lag > Duration::from_secs(60) {
            return refuse("max_lag", &shown(self.max_lag), "100ms to 1m");
        }
        if !(64 << 10..=1 << 30).contains(&self.max_lag_bytes) {
            return refuse("max_lag_bytes", &self.max_lag_bytes, "65536 (64 KiB) to 1073741824 (1 GiB)");
        }
        if !(1..=1000).contains(&self.max_connections) {
            return refuse("max_connections", &self.max_connections, "1 to 1000");
        }
        if self.min_connections > self.max_connections {
            return refuse("min_connections", &self.min_connections, "at most max_connections");
        }
        for (key, value) in [
            ("acquire_timeout", self.acquire_timeout),
            ("idle_timeout", self.idle_timeout),
            ("statement_timeout", self.statement_timeout),
        ] {
            if value < Duration::from_millis(10) || value > Duration::from_secs(300) {
                return refuse(key, &shown(value), "10ms to 5m");
            }
        }
        Ok(())
    }

    /// Notes in the folder of a service that its data is on this server, if the folder can be written to.
    pub fn note_in(&self, folder: &Path) {
        // Nothing depends on it: a folder that can't be written to has no data that could be taken for this service's.
        std::fs::create_dir_all(folder).and_then(|()| std::fs::write(folder.join(NOTE), self.shown())).ok();
    }

    /// Refuses to begin in a folder that has a note of [`note_in`](Self::note_in): whoever leaves the URL out once would find an
    /// empty shop. `service` is whose folder it is.
    ///
    /// # Errors
    /// When there is such a note; the sentence says where the data is.
    pub fn refuse_note_in(folder: &Path, service: &str) -> Result<(), ServeError> {
        let note = folder.join(NOTE);
        let Ok(place) = std::fs::read_to_string(&note) else { return Ok(()) };
        Err(ServeError::new(
            format!("the data of {service} is on the PostgreSQL {place}, and no URL is set"),
            format!(
                "set `{service}.postgres.url` (or --postgres), or remove {} to begin anew in the folder",
                note.display()
            ),
        ))
    }

    /// The server and the database, without what is secret: for people.
    pub fn shown(&self) -> String {
        self.options().and_then(|options| options.place()).unwrap_or_default()
    }

    /// The database's options; `None` when there is no URL.
    pub fn options(&self) -> Option<PostgresOptions> {
        (!self.url.expose().is_empty()).then(|| self.options_of(&self.url, &self.replicas))
    }

    /// The options of another database with these settings of connections and lag.
    pub(super) fn options_of(&self, url: &Secret, replicas: &[Secret]) -> PostgresOptions {
        PostgresOptions {
            replicas: replicas.iter().map(|url| url.expose().to_owned()).collect(),
            max_lag: self.max_lag,
            max_lag_bytes: self.max_lag_bytes,
            max_connections: self.max_connections,
            min_connections: self.min_connections,
            acquire_timeout: self.acquire_timeout,
            idle_timeout: self.idle_timeout,
            statement_timeout: self.statement_timeout,
            ..PostgresOptions::new(url.expose())
        }
    }
}

/// Whether a URL may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    Yes,
    No,
}

/// Refuses what isn't the URL of a PostgreSQL. The sentence names the key and nothing of the value, which may hold a password.
pub(super) fn check_url(key: &str, url: &Secret, needed: Needed) -> Result<(), ServeError> {
    let refuse =
        |what: &str, right: &str| Err(ServeError::new(format!("{key} is {what}"), format!("it must be {right}")));
    let url = url.expose();
    if url.is_empty() && needed == Needed::No {
        return Ok(());
    }
    let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    // Before the URL is read as a whole: what isn't known in it would be logged, with its value.
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let keys = parameters.split('&').filter_map(|pair| pair.split('=').next());
    if is_postgres && keys.filter(|key| !key.is_empty()).any(|key| !PARAMETERS.contains(&key)) {
        let right = format!("a URL whose parameters are among {}", PARAMETERS.join(", "));
        return refuse("a URL with a parameter that isn't known", &right);
    }
    if !is_postgres || PostgresOptions::new(url).place().is_none() {
        let or_empty = if needed == Needed::No { ", or empty" } else { "" };
        return refuse("no address of a PostgreSQL", &format!("postgres://HOST:PORT/DATABASE{or_empty}"));
    }
    Ok(())
}

/// Refuses replicas that are too many, or that aren't URLs of a PostgreSQL.
pub(super) fn check_replicas(key: &str, replicas: &[Secret]) -> Result<(), ServeError> {
    if replicas.len() > MAX_REPLICAS {
        let sentence = format!("{key} is a list of {}", replicas.len());
        return Err(ServeError::new(sentence, format!("it must be at most {MAX_REPLICAS} URLs")));
    }
    replicas.iter().enumerate().try_for_each(|(at, url)| check_url(&format!("{key}[{at}]"), url, Needed::Yes))
}

fn shown(value: Duration) -> impl std::fmt::Display {
    humantime_serde::re::humantime::format_duration(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_of_postgresql_are_refused_by_their_keys() {
        let config = PostgresConfig::default;
        let replicas = |urls: &[&str]| PostgresConfig {
            url: Secret::new("postgres://host/db"),
            replicas: urls.iter().map(|url| Secret::new(*url)).collect(),
            ..config()
        };
        for (key, bad) in [
            ("url", PostgresConfig { url: Secret::new("mysql://secret@host"), ..config() }),
            ("url", PostgresConfig { url: Secret::new("postgres://host/db?pasword=secret"), ..config() }),
            ("replicas", PostgresConfig { replicas: vec![Secret::new("postgres://anna:secret@host/db")], ..config() }),
            ("replicas[0]", replicas(&["mysql://secret@host"])),
            ("replicas[1]", replicas(&["postgres://host/db", "postgres://host/db?pasword=secret"])),
            ("replicas[0]", replicas(&[""])),
            ("replicas", replicas(&["postgres://host/db"; 17])),
            ("max_lag", PostgresConfig { max_lag: Duration::from_millis(99), ..config() }),
            ("max_lag", PostgresConfig { max_lag: Duration::from_secs(61), ..config() }),
            ("max_lag_bytes", PostgresConfig { max_lag_bytes: (64 << 10) - 1, ..config() }),
            ("max_lag_bytes", PostgresConfig { max_lag_bytes: (1 << 30) + 1, ..config() }),
            ("max_connections", PostgresConfig { max_connections: 0, ..config() }),
            ("min_connections", PostgresConfig { min_connections: 21, ..config() }),
            ("idle_timeout", PostgresConfig { idle_timeout: Duration::MAX, ..config() }),
            ("statement_timeout", PostgresConfig { statement_timeout: Duration::ZERO, ..config() }),
        ] {
            let refused = bad.check("orders").unwrap_err();
            assert!(refused.sentence.starts_with(&format!("orders.postgres.{key} is ")), "{refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        assert!(config().check("orders").is_ok() && config().options().is_none());
    }

    #[test]
    fn replicas_are_told_to_the_pool_and_shown_to_nobody() {
        let json = r#"{"url": "postgres://db/shop", "replicas": ["postgres://anna:secret@b/shop"], "max_lag": "5s",
            "max_lag_bytes": 65536, "reads": "bounded"}"#;
        let config: PostgresConfig = serde_json::from_str(json).unwrap();
        assert!(config.check("orders").is_ok());
        let options = config.options().unwrap();
        assert_eq!(options.replicas, ["postgres://anna:secret@b/shop"]);
        assert_eq!((options.max_lag, options.max_lag_bytes), (Duration::from_secs(5), 65_536));
        assert_eq!(config.reads, Reads::Bounded);
        let printed = serde_json::to_string(&config).unwrap();
        assert!(printed.contains("[redacted]") && !printed.contains("secret"), "{printed}");
        assert!(!format!("{config:?}").contains("secret"));
        let config = PostgresConfig::default();
        assert!(config.replicas.is_empty() && config.reads == Reads::Primary);
    }

    #[test]
    fn a_note_keeps_a_service_from_beginning_anew_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("products");
        assert!(PostgresConfig::refuse_note_in(&data, "products").is_ok());
        PostgresConfig { url: Secret::new("postgres://anna:secret@db/shop"), ..Default::default() }.note_in(&data);
        let refused = PostgresConfig::refuse_note_in(&data, "products").unwrap_err();
        assert!(refused.sentence.contains("db:5432/shop"), "{refused}");
    }

    #[test]
    fn the_place_is_shown_without_what_is_secret() {
        let of = |url: &str| PostgresConfig { url: Secret::new(url), ..Default::default() };
        let config = of("postgres://anna:se%40cret@db:5433/shop?sslmode=require");
        assert_eq!(config.shown(), "db:5433/shop");
        assert_eq!(config.options().unwrap().max_connections, 20);
        // What is not encoded makes it another URL, or none.
        let unencoded = of("postgres://anna:hidden?word@db/shop");
        let refused = unencoded.check("orders").unwrap_err();
        assert!(!format!("{refused} {}", unencoded.shown()).contains("hidden"), "{refused}");
    }
}

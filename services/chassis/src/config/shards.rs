//! The settings of a service whose data lies in several databases.

use std::collections::HashSet;

use meshwork_sql::PostgresOptions;
use meshwork_sql::shards::{ShardOptions, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::postgres::{Needed, PostgresConfig, check_replicas, check_url};
use crate::ServeError;

/// The ids of shards are below this: each takes lanes on the event bus.
const MAX_ID: u16 = 64;
/// How many characters a shard's name has at most.
const MAX_NAME: usize = 32;
/// How many split points there are at most at the start; more are made while serving.
const MAX_SPLITS: usize = 1023;
/// How many bytes a split point has at most.
const MAX_SPLIT: usize = 256;

/// How keys are led to shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyConfig {
    /// By the hash of a key: evenly.
    #[default]
    Hash,
    /// By ranges of keys as they are: neighbours stay together.
    Range,
}

/// A database of several that hold the data of a service together.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardConfig {
    /// Its number, below 64. It stays the shard's for ever: the database knows it, and so does the event bus.
    pub id: u16,
    /// What people call it: 1 to 32 lower-case letters, digits and hyphens.
    pub name: String,
    /// The database, as `postgres.url`.
    pub url: Secret,
    /// Read replicas of the database, as `postgres.replicas`.
    #[serde(default)]
    pub replicas: Vec<Secret>,
}

/// Several databases in place of one. What isn't set here, such as the number of connections, is as `postgres` has it, for
/// each of them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShardsConfig {
    /// How keys are led to databases: `hash`, evenly, or `range`, by ranges of keys as they are. It can't be changed once there
    /// are databases.
    pub strategy: StrategyConfig,
    /// With `range`, the keys at which a range ends and the next begins when the databases are new, in ascending order. Later
    /// ones are made by `meshwork shards split`.
    pub splits: Vec<String>,
    /// The databases, each with its `id`, `name` and `url`. Empty: there is one, which `postgres` names.
    pub databases: Vec<ShardConfig>,
}

impl ShardsConfig {
    /// Whether there are several databases, in place of the one that `postgres` names.
    pub fn is_set(&self) -> bool {
        !self.databases.is_empty()
    }

    /// How many shards must have their lanes on the event bus: one more than the highest id.
    pub fn count(&self) -> u16 {
        self.databases.iter().map(|database| database.id.saturating_add(1)).max().unwrap_or(1)
    }

    /// Whether the values make sense; `service` is whose they are, such as `users`.
    ///
    /// # Errors
    /// A sentence that names the key, its value (unless it may hold a password) and what would be right.
    pub fn check(&self, service: &str) -> Result<(), ServeError> {
        self.check_splits(service)?;
        let (mut ids, mut names, mut urls) = (HashSet::new(), HashSet::new(), HashSet::new());
        for (at, ShardConfig { id, name, url, replicas }) in self.databases.iter().enumerate() {
            let of = |key: &str| format!("{service}.shards.databases[{at}].{key}");
            let refuse = |key: &str, value: &dyn std::fmt::Display, right: String| {
                Err(ServeError::new(format!("{} is {value}", of(key)), format!("it must be {right}")))
            };
            if *id >= MAX_ID || !ids.insert(*id) {
                return refuse("id", id, format!("below {MAX_ID}, and of no other database"));
            }
            let is_known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_known) || !names.insert(name) {
                let right = format!("1 to {MAX_NAME} of a-z, 0-9 and -, and of no other database");
                return refuse("name", &format_args!("{name:?}"), right);
            }
            check_url(&of("url"), url, Needed::Yes)?;
            if !urls.insert(url.expose()) {
                return refuse("url", &"that of another shard", "a database of its own".to_owned());
            }
            check_replicas(&of("replicas"), replicas)?;
        }
        Ok(())
    }

    fn check_splits(&self, service: &str) -> Result<(), ServeError> {
        let refuse = |what: String, right: &str| {
            Err(ServeError::new(format!("{service}.shards.splits {what}"), format!("it must be {right}")))
        };
        match self.strategy {
            StrategyConfig::Hash if !self.splits.is_empty() => {
                return refuse("is set".to_owned(), "empty with the strategy `hash`, or the strategy `range`");
            }
            StrategyConfig::Range if self.splits.is_empty() => {
                return refuse("is empty".to_owned(), "one key at least, with the strategy `range`");
            }
            StrategyConfig::Hash | StrategyConfig::Range => {}
        }
        if self.splits.len() > MAX_SPLITS {
            return refuse(format!("is a list of {}", self.splits.len()), &format!("at most {MAX_SPLITS} keys"));
        }
        let is_wrong = |split: &&String| !(1..=MAX_SPLIT).contains(&split.len());
        if let Some(split) = self.splits.iter().find(is_wrong) {
            let what = format!("has one of {} bytes", split.len());
            return refuse(what, &format!("keys of 1 to {MAX_SPLIT} bytes"));
        }
        if let Some(pair) = self.splits.windows(2).find(|pair| pair[0] >= pair[1]) {
            let what = format!("has {:?} before {:?}", pair[0], pair[1]);
            return refuse(what, "in ascending order, each key once");
        }
        Ok(())
    }

    /// How keys are led to shards, as the databases' map has it.
    pub fn strategy(&self) -> Strategy {
        match self.strategy {
            StrategyConfig::Hash => Strategy::Hash,
            StrategyConfig::Range => Strategy::Range { splits: self.splits.clone() },
        }
    }

    /// How to reach each of the databases, with the connections and lags of `pool`, and the tables in `schema`. Empty when
    /// there is one, which `pool` names.
    pub fn options(&self, pool: &PostgresConfig, schema: &'static str) -> Vec<ShardOptions> {
        let options = |ShardConfig { id, name, url, replicas }: &ShardConfig| ShardOptions {
            id: *id,
            name: name.clone(),
            postgres: PostgresOptions { schema: Some(schema), ..pool.options_of(url, replicas) },
        };
        self.databases.iter().map(options).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(id: u16, name: &str, url: &str) -> ShardConfig {
        ShardConfig { id, name: name.to_owned(), url: Secret::new(url), replicas: Vec::new() }
    }

    fn hashed(databases: Vec<ShardConfig>) -> ShardsConfig {
        ShardsConfig { databases, ..ShardsConfig::default() }
    }

    fn ranged(splits: &[&str]) -> ShardsConfig {
        let splits = splits.iter().map(|split| (*split).to_owned()).collect();
        ShardsConfig { strategy: StrategyConfig::Range, splits, databases: Vec::new() }
    }

    #[test]
    fn bad_settings_of_shards_are_refused_by_their_keys() {
        let (a, b) = (|| database(0, "a", "postgres://a/db"), |id, name: &str| database(id, name, "postgres://b/db"));
        let replica = ShardConfig { replicas: vec![Secret::new("mysql://secret@host")], ..b(1, "b") };
        for (key, bad) in [
            ("databases[0].id", hashed(vec![database(64, "a", "postgres://a/db")])),
            ("databases[1].id", hashed(vec![a(), b(0, "b")])),
            ("databases[1].name", hashed(vec![a(), b(1, "a")])),
            ("databases[1].name", hashed(vec![a(), b(1, "")])),
            ("databases[1].name", hashed(vec![a(), b(1, "B")])),
            ("databases[1].name", hashed(vec![a(), b(1, "b_b")])),
            ("databases[1].name", hashed(vec![a(), b(1, &"b".repeat(33))])),
            ("databases[1].url", hashed(vec![a(), database(1, "b", "postgres://a/db")])),
            ("databases[1].url", hashed(vec![a(), database(1, "b", "")])),
            ("databases[1].url", hashed(vec![a(), database(1, "b", "mysql://secret@host")])),
            ("databases[1].replicas[0]", hashed(vec![a(), replica])),
            ("splits", ShardsConfig { splits: vec!["m".to_owned()], ..hashed(vec![a()]) }),
            ("splits", ranged(&[])),
            ("splits", ranged(&[""])),
            ("splits", ranged(&["m", "g"])),
            ("splits", ranged(&["g", "g"])),
            ("splits", ranged(&[&"g".repeat(257)])),
        ] {
            let refused = bad.check("users").unwrap_err();
            assert!(refused.sentence.starts_with(&format!("users.shards.{key} ")), "{key}: {refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        for good in [hashed(Vec::new()), hashed(vec![a(), b(63, "b-2")]), ranged(&["g", "m"])] {
            assert!(good.check("users").is_ok(), "{good:?}");
        }
    }

    #[test]
    fn databases_are_read_as_they_are_written_in_a_file() {
        let json = r#"{"strategy": "range", "splits": ["m"], "databases": [
            {"id": 0, "name": "first", "url": "postgres://anna:secret@a/shop"},
            {"id": 5, "name": "second", "url": "postgres://b/shop", "replicas": ["postgres://ben:secret@c/shop"]}
        ]}"#;
        let config: ShardsConfig = serde_json::from_str(json).unwrap();
        assert!(config.check("users").is_ok() && config.is_set());
        assert_eq!(config.count(), 6);
        assert_eq!(config.strategy(), Strategy::Range { splits: vec!["m".to_owned()] });
        let pool = PostgresConfig { max_connections: 7, ..PostgresConfig::default() };
        let options = config.options(&pool, "users");
        assert_eq!(
            options.iter().map(|shard| (shard.id, shard.name.as_str())).collect::<Vec<_>>(),
            [(0, "first"), (5, "second")]
        );
        assert_eq!(options[0].postgres.url, "postgres://anna:secret@a/shop");
        assert_eq!(options[1].postgres.replicas, ["postgres://ben:secret@c/shop"]);
        let of_second = &options[1].postgres;
        assert_eq!((of_second.schema, of_second.max_connections), (Some("users"), 7));
        let printed = serde_json::to_string(&config).unwrap();
        assert!(printed.contains("[redacted]") && !printed.contains("secret"), "{printed}");
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn without_databases_there_is_the_one_of_postgres() {
        let config = ShardsConfig::default();
        assert!(!config.is_set() && config.options(&PostgresConfig::default(), "users").is_empty());
        assert_eq!((config.count(), config.strategy()), (1, Strategy::Hash));
    }
}

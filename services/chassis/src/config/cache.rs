//! The settings of caches.

use std::ops::RangeInclusive;
use std::time::Duration;

use meshwork_cache::CacheOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ServeError;

/// How long an answer may be given before it is asked for again.
const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// How much longer it may be given while what it comes from is away.
const STALE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// How long it may be remembered that there is nothing.
const NEGATIVE_TTL: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30);
/// How many bytes the answers in the process may have.
const LOCAL_BYTES: RangeInclusive<u64> = (1 << 20)..=(4 << 30);

/// What a service remembers of its database, so that not every Get asks it: accounts, products and the first pages of products.
///
/// Without a consistency token an answer is at most a second old; with one it shows what its caller has written. Nothing that
/// decides (passwords, sessions, roles, stocks, prices of orders) comes from here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Whether anything is remembered.
    pub enabled: bool,
    /// How long an answer is good that nothing has dropped, from 1 s to 1 hour; up to a tenth more or less, so that not all are
    /// asked for again at once.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ttl: Duration,
    /// How much longer an answer is given to callers without a token while the database is away, up to 1 hour; 0 for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub stale: Duration,
    /// How long it is remembered that there is no such thing, from 5 s to 30 s. Making it ends that.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub negative_ttl: Duration,
    /// How many bytes the answers of each kind (accounts, products, lists) have in the process, from 1 MiB to 4 GiB.
    pub local_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ttl: Duration::from_secs(60),
            stale: Duration::from_secs(5 * 60),
            negative_ttl: Duration::from_secs(10),
            local_bytes: 16 << 20,
        }
    }
}

impl CacheConfig {
    /// Whether the values make sense; `section` is where they stand, such as `users.cache`.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self, section: &str) -> Result<(), ServeError> {
        for (key, value, range) in
            [("ttl", self.ttl, TTL), ("stale", self.stale, STALE), ("negative_ttl", self.negative_ttl, NEGATIVE_TTL)]
        {
            if !range.contains(&value) {
                let shown = humantime_serde::re::humantime::format_duration;
                return Err(ServeError::new(
                    format!("{section}.{key} is {}", shown(value)),
                    format!("it must be {} to {}", shown(*range.start()), shown(*range.end())),
                ));
            }
        }
        if !LOCAL_BYTES.contains(&self.local_bytes) {
            return Err(ServeError::new(
                format!("{section}.local_bytes is {}", self.local_bytes),
                format!("it must be {} (1 MiB) to {} (4 GiB)", LOCAL_BYTES.start(), LOCAL_BYTES.end()),
            ));
        }
        Ok(())
    }

    /// The options of the cache of a kind.
    pub fn options(&self) -> CacheOptions {
        CacheOptions {
            ttl: self.ttl,
            stale: self.stale,
            negative_ttl: self.negative_ttl,
            local_bytes: self.local_bytes,
            ..CacheOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_of_a_cache_are_refused_by_their_keys() {
        let (config, second) = (CacheConfig::default, Duration::from_secs(1));
        for (key, bad) in [
            ("ttl", CacheConfig { ttl: Duration::from_millis(999), ..config() }),
            ("ttl", CacheConfig { ttl: 3601 * second, ..config() }),
            ("stale", CacheConfig { stale: 3601 * second, ..config() }),
            ("negative_ttl", CacheConfig { negative_ttl: 4 * second, ..config() }),
            ("negative_ttl", CacheConfig { negative_ttl: 31 * second, ..config() }),
            ("local_bytes", CacheConfig { local_bytes: (1 << 20) - 1, ..config() }),
            ("local_bytes", CacheConfig { local_bytes: u64::MAX, ..config() }),
        ] {
            let refused = bad.check("users.cache").unwrap_err();
            assert!(refused.sentence.starts_with(&format!("users.cache.{key} is ")), "{refused}");
        }
        let refused = CacheConfig { ttl: Duration::ZERO, ..config() }.check("products.cache").unwrap_err();
        assert_eq!(
            (refused.sentence.as_str(), refused.hint.as_str()),
            ("products.cache.ttl is 0s", "it must be 1s to 1h")
        );
        let least = CacheConfig { ttl: second, stale: Duration::ZERO, local_bytes: 1 << 20, ..config() };
        assert!(config().check("users.cache").is_ok() && least.check("users.cache").is_ok());
    }

    #[test]
    fn settings_are_told_to_the_cache() {
        let config: CacheConfig = serde_json::from_str(r#"{"ttl": "5s", "stale": "0s"}"#).unwrap();
        let options = config.options();
        assert!(config.enabled);
        assert_eq!((options.ttl, options.stale), (Duration::from_secs(5), Duration::ZERO));
        assert_eq!((options.negative_ttl, options.local_bytes), (Duration::from_secs(10), 16 << 20));
        assert!(serde_json::from_str::<CacheConfig>(r#"{"tll": "5s"}"#).is_err());
    }
}

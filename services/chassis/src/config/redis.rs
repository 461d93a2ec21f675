//! The settings of Redis.

use std::fmt::Display;
use std::ops::RangeInclusive;

use http::uri::Authority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::ServeError;

/// The schemes that a URL may have.
const SCHEMES: [&str; 12] = [
    "redis://",
    "rediss://",
    "redis-cluster://",
    "rediss-cluster://",
    "redis-sentinel://",
    "rediss-sentinel://",
    "valkey://",
    "valkeys://",
    "valkey-cluster://",
    "valkeys-cluster://",
    "valkey-sentinel://",
    "valkeys-sentinel://",
];
/// How long a prefix of keys may be.
const PREFIX: RangeInclusive<usize> = 1..=32;

/// A Redis, or a server that speaks its protocol, behind what services cache in their processes. Everything in it can be made
/// again: it needs no copy of its data.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// The server, `redis://USER:PASSWORD@HOST:PORT/DATABASE`; `rediss://` for TLS, `redis-cluster://` and `redis-sentinel://` for
    /// several servers. Empty: each process caches for itself, for at most a second.
    pub url: Secret,
    /// What all keys begin with, 1 to 32 of a-z, 0-9 and `-`. What is cached of a database has its identity behind that, so that
    /// shops which share a server don't meet there. A copy of a database has the identity of the original: it needs another prefix.
    pub prefix: String,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { url: Secret::new(""), prefix: "meshwork".to_owned() }
    }
}

impl RedisConfig {
    /// Whether there is a Redis.
    pub fn is_set(&self) -> bool {
        !self.url.expose().is_empty()
    }

    /// Whether the values make sense; `section` is where they stand, such as `redis` or `users.redis`. The sentence shows nothing of
    /// the URL, which may hold a password.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what would be right.
    pub fn check(&self, section: &str) -> Result<(), ServeError> {
        let refuse = |key: &str, value: &dyn Display, right: &str| {
            Err(ServeError::new(format!("{section}.{key} is {value}"), format!("it must be {right}")))
        };
        if self.is_set() && !is_redis(self.url.expose()) {
            let right = "redis://HOST:PORT, rediss:// for TLS, redis-cluster:// or redis-sentinel://, or empty; a user and a \
                         password are percent-encoded";
            return refuse("url", &"no address of a Redis", right);
        }
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !PREFIX.contains(&self.prefix.len()) || !self.prefix.bytes().all(is_word) {
            return refuse("prefix", &format!("{:?}", self.prefix), "1 to 32 of a-z, 0-9 and -");
        }
        Ok(())
    }

    /// The server without what is secret, for people.
    pub fn shown(&self) -> String {
        place(self.url.expose()).unwrap_or_default().to_owned()
    }

    /// The first key by which these settings lead elsewhere than `other`.
    pub fn differs_in(&self, other: &Self) -> Option<&'static str> {
        if self.url != other.url {
            return Some("url");
        }
        (self.is_set() && self.prefix != other.prefix).then_some("prefix")
    }
}

/// `HOST:PORT` of a URL, without what stands before or behind it; `None` where that can't be told from a password.
fn place(url: &str) -> Option<&str> {
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme))?;
    let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let place = match address.rsplit_once('@') {
        Some((_, place)) => place,
        // A password with a `?` that isn't encoded.
        None if parameters.contains('@') => return None,
        None => address,
    };
    Some(place.split('/').next().unwrap_or_default())
}

/// Whether this is the URL of a server: a scheme, a host and perhaps a port.
fn is_redis(url: &str) -> bool {
    let Some(Ok(authority)) = place(url).map(str::parse::<Authority>) else { return false };
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let is_plain = !url.contains(|c: char| c.is_whitespace() || c.is_control());
    is_plain && !authority.host().is_empty() && (port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> RedisConfig {
        RedisConfig { url: Secret::new(url), ..RedisConfig::default() }
    }

    #[test]
    fn bad_settings_of_redis_are_refused_by_their_keys() {
        let prefixed = |prefix: &str| RedisConfig { prefix: prefix.to_owned(), ..of("redis://a:6379") };
        for (key, bad) in [
            ("url", of("http://hidden@host:6379")),
            ("url", of("redis://")),
            ("url", of("redis://:hidden@:6379")),
            ("url", of("redis://host:99999")),
            ("url", of("redis://host:0")),
            ("url", of("redis://anna:hidden?word@host")),
            ("url", of("redis://a b")),
            ("url", of("host:6379")),
            ("prefix", prefixed("")),
            ("prefix", prefixed("Shop")),
            ("prefix", prefixed("a:b")),
            ("prefix", prefixed(&"x".repeat(33))),
            ("prefix", RedisConfig { prefix: "{x}".to_owned(), ..RedisConfig::default() }),
        ] {
            let refused = bad.check("users.redis").unwrap_err();
            assert!(refused.sentence.starts_with(&format!("users.redis.{key} is ")), "{refused}");
            assert!(!format!("{} {}", refused.sentence, refused.hint).contains("hidden"), "{refused}");
        }
        for good in [
            RedisConfig::default(),
            of("redis://127.0.0.1:6379"),
            of("rediss://anna:hidden@redis.example/3"),
            of("redis-cluster://a:7000?node=b:7001&node=c:7002"),
            of("redis-sentinel://:hidden@a:26379?sentinelServiceName=shop&sentinelPassword=x"),
            of("valkey://[::1]:6379"),
            prefixed("shop-2"),
        ] {
            good.check("redis").unwrap_or_else(|refused| panic!("{refused}"));
        }
        assert!(!RedisConfig::default().is_set() && of("redis://a").is_set());
    }

    #[test]
    fn the_server_is_shown_and_the_password_is_not() {
        for (url, shown) in [
            ("redis://anna:hidden@a:6379/3", "a:6379"),
            ("redis-cluster://:hid@den@a:7000?node=b:7001", "a:7000"),
            ("redis://anna:hid/den@a:6379", "a:6379"),
            ("redis://anna:hidden?word@a:6379", ""),
            ("redis-sentinel://a:1?sentinelPassword=hid@den", ""),
            ("", ""),
        ] {
            assert_eq!(of(url).shown(), shown, "{url}");
        }
        let config = of("redis://anna:hidden@a:6379");
        assert!(!format!("{config:?}").contains("hidden"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hidden"));
        assert!(serde_json::from_str::<RedisConfig>(r#"{"urls": ""}"#).is_err());
    }

    #[test]
    fn settings_that_lead_elsewhere_differ() {
        let other = RedisConfig { prefix: "other".to_owned(), ..RedisConfig::default() };
        assert_eq!(RedisConfig::default().differs_in(&other), None, "nothing is in Redis");
        let one = of("redis://a");
        assert_eq!(one.differs_in(&one.clone()), None);
        assert_eq!(one.differs_in(&of("redis://b")), Some("url"));
        assert_eq!(one.differs_in(&RedisConfig { url: one.url.clone(), ..other }), Some("prefix"));
    }
}

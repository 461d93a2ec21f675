//! Where the Redis is, and how long it may take.

use std::fmt;
use std::time::Duration;

/// The URL is none that a Redis can be found by.
#[derive(Debug, thiserror::Error)]
#[error("this is no URL of Redis ({0}); set one such as redis://host:6379, rediss://… for TLS or redis-cluster://…")]
pub struct InvalidRedis(pub(super) String);

/// How to reach Redis.
#[derive(Clone)]
pub struct RedisOptions {
    /// The Redis, or the server that speaks its protocol: `redis://user:password@host:6379/0`, `rediss://` for TLS,
    /// `redis-cluster://`, `redis-sentinel://`.
    pub url: String,
    /// What the names of all keys begin with, so that several systems may share a Redis. Default: `meshwork`.
    pub prefix: String,
    /// How long a command may take before the source of truth is asked instead (CA-8). Default: 20 ms.
    pub timeout: Duration,
}

impl RedisOptions {
    /// The Redis at a URL, with the defaults.
    ///
    /// ```
    /// use meshwork_cache::redis::RedisOptions;
    /// let options = RedisOptions::new("redis://redis:6379");
    /// assert_eq!(options.prefix, "meshwork");
    /// ```
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), prefix: "meshwork".to_owned(), timeout: Duration::from_millis(20) }
    }
}

impl fmt::Debug for RedisOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, timeout } = self;
        f.debug_struct("RedisOptions").field("prefix", prefix).field("timeout", timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_password() {
        let options = RedisOptions::new("redis://anna:secret@redis:6379");
        assert!(!format!("{options:?}").contains("secret"));
    }
}

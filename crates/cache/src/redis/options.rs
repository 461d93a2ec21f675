//! Where the Redis is, and how long it may take.

use std::fmt;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::types::config::{Config, ServerConfig};

/// What the scheme of a URL may be, and behind that with `-cluster` or `-sentinel`.
const SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];
const NO_HOST: &str = "it names no host";
const NO_PORT: &str = "a port is a number from 1 to 65535";
const NO_SERVICE: &str = "it lacks the parameter ?sentinelServiceName=NAME, by which the sentinels know the service";

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

    /// Whether the URL is one that a Redis can be found by, without connecting.
    ///
    /// # Errors
    /// What is wrong with it. The message shows nothing of the URL, which may hold a password.
    ///
    /// ```
    /// use meshwork_cache::redis::RedisOptions;
    /// assert!(RedisOptions::new("redis://redis:6379/1").check().is_ok());
    /// let refused = RedisOptions::new("redis-sentinel://redis:26379").check().unwrap_err();
    /// assert!(refused.to_string().contains("sentinelServiceName"));
    /// ```
    pub fn check(&self) -> Result<(), InvalidRedis> {
        self.config().map(drop)
    }

    /// What the URL says.
    pub(super) fn config(&self) -> Result<Config, InvalidRedis> {
        let refuse = |reason: &str| Err(InvalidRedis(reason.to_owned()));
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
        let kind = scheme.strip_suffix("-cluster").or_else(|| scheme.strip_suffix("-sentinel")).unwrap_or(&scheme);
        if !SCHEMES.contains(&kind) {
            return refuse("its scheme is another one");
        }
        let config = Config::from_url(&self.url).map_err(|error| InvalidRedis(reason(&error)))?;
        if config.server.hosts().iter().any(|server| server.host.is_empty()) {
            return refuse(NO_HOST);
        }
        if config.server.hosts().iter().any(|server| server.port == 0) {
            return refuse(NO_PORT);
        }
        if matches!(&config.server, ServerConfig::Sentinel { service_name, .. } if service_name.is_empty()) {
            return refuse(NO_SERVICE);
        }
        Ok(config)
    }
}

/// What is wrong with a URL, in words that show nothing of it.
fn reason(error: &Error) -> String {
    let details = error.details();
    let says = |words: &str| details.contains(words);
    let reason = match error.kind() {
        ErrorKind::Tls => return format!("the certificates that this system trusts can't be read: {details}"),
        ErrorKind::Url if says("Port") => NO_PORT,
        ErrorKind::Url if says("EmptyHost") => NO_HOST,
        ErrorKind::Config if says("sentinel service name") => NO_SERVICE,
        ErrorKind::Config if says("missing host") => NO_HOST,
        ErrorKind::Config if says("cluster node") => "a parameter `node` is HOST:PORT",
        ErrorKind::Config if says("database") => {
            "behind the host and the port there may be the number of a database only"
        }
        ErrorKind::Parse if says("integer") => {
            "a database is a number from 0 to 255, and a parameter `node` is HOST:PORT with a port up to 65535"
        }
        _ => "it is malformed; what is special in user and password must be percent-encoded",
    };
    reason.to_owned()
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

    #[test]
    fn a_url_that_leads_nowhere_is_refused_with_what_is_wrong_and_no_password() {
        for (url, says) in [
            ("", "scheme"),
            ("host:6379", "scheme"),
            ("http://:secret@host", "scheme"),
            ("redis+unix:///run/redis.sock", "scheme"),
            ("redis://", "host"),
            ("redis://host:99999", "port"),
            ("redis://host:0", "port"),
            ("redis://anna:secret?word@host", "port"),
            ("redis://:secret@host/one", "number"),
            ("redis://:secret@host/256", "number"),
            ("redis://:secret@host/1/2", "database"),
            ("redis-cluster://host?node=anna:secret@other:7000", "node"),
            ("redis-sentinel://:secret@host:26379", "sentinelServiceName"),
            ("redis-sentinel://:secret@host:26379?sentinelServiceName=", "sentinelServiceName"),
        ] {
            let refused = RedisOptions::new(url).check().unwrap_err().to_string();
            assert!(refused.contains(says) && !refused.contains("secret"), "{url}: {refused}");
        }
        for url in [
            "redis://host",
            "valkey://anna:pass%20word@host:6380/15",
            "redis://[::1]:6379",
            "redis-cluster://host:7000?node=other:7001",
            "redis-sentinel://host?sentinelServiceName=shop",
        ] {
            RedisOptions::new(url).check().unwrap();
        }
    }
}

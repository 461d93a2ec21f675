//! How to reach the Redis that holds the buckets.

use std::fmt;
use std::time::Duration;

use fred::types::config::Config;

use crate::policy::{CircuitBreaker, FailureRate};

/// How long a decision may take.
const BUDGET: Duration = Duration::from_millis(10);

/// The URL is none that a Redis can be found by.
#[derive(Debug, thiserror::Error)]
#[error("this is no URL of Redis ({0}); set one such as redis://host:6379, rediss://… for TLS or redis-cluster://…")]
pub struct InvalidRedis(pub(super) String);

/// How to reach Redis, and what to do when it doesn't answer.
#[derive(Clone)]
pub struct RedisSettings {
    pub(super) url: String,
    pub(super) budget: Duration,
    pub(super) breaker: CircuitBreaker,
    pub(super) leases: bool,
}

impl RedisSettings {
    /// The Redis, or the server that speaks its protocol, at a URL: `redis://user:password@host:6379/0`, `rediss://` for
    /// TLS, `redis-cluster://`, `redis-sentinel://`.
    ///
    /// ```
    /// use meshwork::server::rate::RedisSettings;
    /// let settings = RedisSettings::new("redis://redis:6379");
    /// ```
    pub fn new(url: impl Into<String>) -> Self {
        let breaker = CircuitBreaker {
            consecutive_failures: Some(5),
            failure_rate: Some(FailureRate { percent: 50, min_calls: 10, window: Duration::from_secs(1) }),
            open_for: Duration::from_secs(1),
            probes: 1,
            ..CircuitBreaker::default()
        };
        Self { url: url.into(), budget: BUDGET, breaker, leases: false }
    }

    /// How long a decision may take; after it the rule's [`OnFailure`] decides. Default: 10 ms.
    ///
    /// ```
    /// # use meshwork::server::rate::RedisSettings;
    /// # use std::time::Duration;
    /// let settings = RedisSettings::new("redis://redis:6379").budget(Duration::from_millis(5));
    /// ```
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// When Redis isn't asked any more for a while. Default: after 5 failures in a row, or half of at least 10 within a
    /// second; for a second, then one decision probes.
    ///
    /// ```
    /// # use meshwork::server::rate::RedisSettings;
    /// # use meshwork::policy::CircuitBreaker;
    /// let settings = RedisSettings::new("redis://redis:6379").breaker(CircuitBreaker::default());
    /// ```
    #[must_use]
    pub fn breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = breaker;
        self
    }

    /// Takes tokens in advance, so that most calls of a busy caller don't wait for Redis: those of 100 ms by the rate,
    /// divided by the instances, at most a tenth of the burst; none where the burst is below 10. They are spent within a
    /// second or lost, and what comes back to the bucket meanwhile takes their place: never are more calls admitted than
    /// `burst + rate × t`, but up to a tenth of a burst less for each instance. Calls that count in several buckets always
    /// ask. Default: off.
    ///
    /// ```
    /// # use meshwork::server::rate::RedisSettings;
    /// let settings = RedisSettings::new("redis://redis:6379").leases(true);
    /// ```
    #[must_use]
    pub fn leases(mut self, leases: bool) -> Self {
        self.leases = leases;
        self
    }

    /// Whether a Redis can be found by the URL; nobody is asked.
    ///
    /// # Errors
    /// When it is none of Redis, or lacks something, such as the name of the service that sentinels know.
    ///
    /// ```
    /// # use meshwork::server::rate::RedisSettings;
    /// assert!(RedisSettings::new("redis-sentinel://sentinel:26379?sentinelServiceName=shop").check().is_ok());
    /// assert!(RedisSettings::new("redis-sentinel://sentinel:26379").check().is_err());
    /// ```
    pub fn check(&self) -> Result<(), InvalidRedis> {
        self.config().map(drop)
    }

    /// How its client is set up.
    pub(super) fn config(&self) -> Result<Config, InvalidRedis> {
        Config::from_url(&self.url).map_err(|error| InvalidRedis(error.details().to_owned()))
    }
}

impl fmt::Debug for RedisSettings {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, budget, breaker, leases } = self;
        f.debug_struct("RedisSettings")
            .field("budget", budget)
            .field("breaker", breaker)
            .field("leases", leases)
            .finish_non_exhaustive()
    }
}

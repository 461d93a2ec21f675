//! Settings.

mod hops;
mod http;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use meshwork::server::Domain;
use meshwork::server::rate::{
    AddressShare, InvalidRate, InvalidRedis, Rate, RateLimitLayer, RateLimiter, RedisSettings, Rule,
};
use meshwork_chassis::config::{AuthConfig, Listen, ListenerText, ProxyProtocolMode, RedisConfig, Secret};
use meshwork_chassis::{ClientConfig, Role, ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::http::HttpConfig;
use crate::adapters::DOMAIN;

/// How many bytes of one answer are read ahead of its caller. Answers to pages are seldom larger; of streams, and of callers that
/// read slowly, it is what one of them holds.
const STREAM_WINDOW: NonZeroU32 = NonZeroU32::new(64 << 10).unwrap();

/// The settings of the gateway.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the gateway listens.
    pub listen: Listen,
    /// Whether connections to `listen` have to begin with a header of the PROXY protocol, by which a balancer that passes bytes on
    /// names its client: `off` or `v2`. With `v2` connections come from `gateway.server.trusted_proxies` alone.
    pub proxy_protocol: ProxyProtocolMode,
    /// Where it listens as well, each a text: `HOST:PORT`, `unix:PATH?mode=660` (a Unix socket; the mode says who may connect), or
    /// `systemd:NAME` (the sockets of that name which systemd has passed). `proxy=v2` demands the PROXY protocol there, as in
    /// `0.0.0.0:8443?proxy=v2` or `unix:PATH?mode=660&proxy=v2`.
    pub listeners: Vec<ListenerText>,
    /// How callers are known. The gateway has no account of its own and needs no credentials.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// How this service calls others. Its `stream_window` is small, 64 KiB: what a slow caller has not taken of its answer
    /// waits in the service that gives it, and not here, where all callers' answers come together.
    pub client: ClientConfig,
    /// Where the services are.
    pub upstreams: Upstreams,
    /// A file of TOML with routes: calls that go elsewhere, by weight or by headers, copies of calls, and upstreams beside those
    /// above. It is read again when it changes, as are the files that it names; one that can't be used changes nothing, and
    /// degrades the check `routes`. Empty: each method goes to the service that has it.
    pub routes: PathBuf,
    /// How many calls a client may make.
    pub rate_limit: RateLimit,
    /// What its port answers besides gRPC.
    pub http: HttpConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            proxy_protocol: ProxyProtocolMode::Off,
            listeners: Vec::new(),
            auth: AuthConfig::default(),
            server: ServerConfig::default().public(),
            client: ClientConfig { stream_window: STREAM_WINDOW, ..ClientConfig::default() },
            upstreams: Upstreams::default(),
            routes: PathBuf::new(),
            rate_limit: RateLimit::default(),
            http: HttpConfig::default(),
        }
    }
}

impl Config {
    /// Whether the gateway can work by these settings.
    ///
    /// # Errors
    /// When a value is out of its range; the error names the key.
    pub fn check(&self) -> Result<(), ServeError> {
        // The same prefixes as those of caches: what stands in `redis` is taken over.
        let keys = RedisConfig { prefix: self.rate_limit.prefix.clone(), ..RedisConfig::default() };
        keys.check("gateway.rate_limit")?;
        let redis = self.rate_limit.redis.expose();
        if !redis.is_empty() {
            RedisSettings::new(redis).check().map_err(|error| no_redis(&error))?;
        }
        self.rule()?;
        self.address_share()?;
        self.http.check()
    }

    /// The limits that are set: in front of identity, for calls that it refuses, and behind it. Both count in the same
    /// buckets: trying tokens costs as much as calling without one, and a good token that is remembered is not refused for what
    /// others at its address do without one. One that comes anew is not looked at while its address is over the limit. Behind
    /// identity, all accounts at an address have a share together, in which they come to equal turns.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub(crate) fn limits(&self) -> Result<(RateLimitLayer, RateLimitLayer), ServeError> {
        self.check()?;
        let rule = self.rule()?;
        let RateLimit { redis, prefix, instances, .. } = &self.rate_limit;
        let builder = RateLimiter::builder().namespace(format!("{prefix}:gateway")).instances(instances.get());
        let limiter = if redis.expose().is_empty() {
            builder.in_process()
        } else {
            builder.redis(RedisSettings::new(redis.expose())).map_err(|error| no_redis(&error))?
        };
        let layer = RateLimitLayer::new(limiter, [rule], Domain::new(DOMAIN));
        let refusals = layer.clone().counting_refusals();
        Ok((refusals, self.address_share()?.into_iter().fold(layer, RateLimitLayer::address_share)))
    }

    fn rule(&self) -> Result<Rule, ServeError> {
        let RateLimit { burst, per_second, .. } = self.rate_limit;
        Ok(Rule::new("calls", Rate::per_second(u64::from(burst.get()), per_second).map_err(no_rate)?))
    }

    /// What all accounts at one address have together, if that is limited.
    fn address_share(&self) -> Result<Option<AddressShare>, ServeError> {
        let RateLimit { burst, per_second, accounts_per_address, .. } = self.rate_limit;
        if accounts_per_address == 0 {
            return Ok(None);
        }
        let burst = u64::from(burst.get()) * u64::from(accounts_per_address);
        let rate = Rate::per_second(burst, per_second * f64::from(accounts_per_address)).map_err(no_rate)?;
        Ok(Some(AddressShare::new(rate).exempt([Role::Service.as_str()])))
    }
}

fn no_rate(error: InvalidRate) -> ServeError {
    ServeError::new(
        format!("gateway.rate_limit.per_second: {error}"),
        "set `gateway.rate_limit.per_second` to a number above zero, such as 10",
    )
}

fn no_redis(error: &InvalidRedis) -> ServeError {
    ServeError::new(
        format!("gateway.rate_limit.redis: {error}"),
        "set `gateway.rate_limit.redis` to a URL such as redis://HOST:6379, redis-cluster://HOST:6379 or \
         redis-sentinel://HOST:26379?sentinelServiceName=NAME, or leave it empty",
    )
}

/// Where the services are, each a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstreams {
    /// The users service.
    pub users: String,
    /// The products service.
    pub products: String,
    /// The orders service.
    pub orders: String,
    /// The notifications service.
    pub notifications: String,
}

impl Default for Upstreams {
    fn default() -> Self {
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        Self { users: local(8081), products: local(8082), orders: local(8083), notifications: local(8084) }
    }
}

/// How many calls a client may make. A client is an account or, without one, an address.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// How many calls at once, after a pause.
    pub burst: NonZeroU32,
    /// How many calls per second in the long run; may be below 1.
    pub per_second: f64,
    /// How many accounts' worth of calls all accounts at one address (an IPv4 address, or an IPv6 /64) may make together: so many
    /// times `burst` and `per_second`. Half of it is there for whoever comes first, the other half is dealt out in equal turns to
    /// the accounts that call there, so that one which calls little is not refused for what others do. Accounts of services, and
    /// callers with a certificate (`gateway.server.tls.client_ca`), are not counted. Behind a balancer the address is its client's, where
    /// `gateway.server.trusted_proxies` lists the balancer and it names its clients; else all have the balancer's, and 0, no limit, is
    /// right.
    pub accounts_per_address: u32,
    /// The Redis in which all instances of the gateway count together, `redis://…`. Not set: as `redis.url`. Empty: each
    /// counts for itself. While Redis doesn't answer, each instance admits its share, and Redis counts that when it is back.
    pub redis: Secret,
    /// What the keys of the counts in Redis begin with, 1 to 32 of a-z, 0-9 and `-`. Not set: as `redis.prefix`. Shops that share
    /// a Redis have different ones, or their clients share one allowance.
    pub prefix: String,
    /// How many instances share the limit.
    pub instances: NonZeroU32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            burst: const { NonZeroU32::new(100).unwrap() },
            per_second: 10.0,
            accounts_per_address: 20,
            redis: Secret::new(""),
            prefix: RedisConfig::default().prefix,
            instances: NonZeroU32::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_none_is_refused_by_its_key() {
        Config::default().check().unwrap();
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let rate_limit = RateLimit { per_second, ..RateLimit::default() };
            let refused = Config { rate_limit, ..Config::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with("gateway.rate_limit.per_second: "), "{refused}");
        }
    }

    #[test]
    fn s7_the_gateway_reads_little_ahead_of_its_callers() {
        assert!(Config::default().client.stream_window.get() <= 64 << 10);
        assert!(Config::default().client.stream_window < ClientConfig::default().stream_window);
    }

    #[test]
    fn s16_what_the_gateway_takes_fits_its_services_with_what_it_adds() {
        // `te`, `grpc-timeout`, `user-agent`, the number of the attempt, and an authority that is longer than the
        // caller's.
        const ADDED: u32 = 1 << 10;
        let (edge, service) = (Config::default().server, ServerConfig::default());
        assert!(edge.max_header_list_size + ADDED <= service.max_header_list_size);
    }

    #[test]
    fn a_redis_that_cannot_be_found_by_its_url_is_refused_by_its_key() {
        let check = |redis: &str| {
            let rate_limit = RateLimit { redis: Secret::new(redis), ..RateLimit::default() };
            Config { rate_limit, ..Config::default() }.check()
        };
        for bad in ["redis://:hidden@host/abc", "redis-sentinel://:hidden@host", "host"] {
            let refused = check(bad).unwrap_err();
            assert!(refused.sentence.starts_with("gateway.rate_limit.redis: "), "{refused}");
            assert!(!format!("{} {}", refused.sentence, refused.hint).contains("hidden"), "{refused}");
        }
        for good in ["", "redis://host:6379/1", "redis-sentinel://host?sentinelServiceName=shop"] {
            check(good).unwrap();
        }
    }

    #[test]
    fn a_prefix_that_would_break_keys_is_refused_by_its_key() {
        for prefix in ["", "Shop", "a:b", "{a}"] {
            let rate_limit = RateLimit { prefix: prefix.to_owned(), ..RateLimit::default() };
            let refused = Config { rate_limit, ..Config::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with("gateway.rate_limit.prefix is "), "{refused}");
        }
    }
}

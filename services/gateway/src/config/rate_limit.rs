//! Settings of how many calls a client may make.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use meshwork::server::Domain;
use meshwork::server::rate::{
    AddressShare, InvalidRate, InvalidRedis, Rate, RateLimitLayer, RateLimiter, RedisSettings, Rule,
};
use meshwork_chassis::config::{RedisConfig, Secret};
use meshwork_chassis::{Role, ServeError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plans::{Plan, PlanTable, warn_of_unused};
use super::routes_limit::{RouteLimit, route_rules, warn_of_unknown};
use crate::adapters::DOMAIN;

/// The name of the limit that counts all calls of a client; those of plans have it too.
const CALLS: &str = "calls";

/// How many calls a client may make. A client is an account or, without one, an address.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// How many calls at once, after a pause.
    pub burst: NonZeroU32,
    /// How many calls per second in the long run; may be below 1.
    pub per_second: f64,
    /// How many accounts' worth of calls all accounts at one address (an IPv4 address, or an IPv6 /64) may make together: so many
    /// times `burst` and `per_second`, whatever their plans say. Half of it is there for whoever comes first, the other half is
    /// dealt out in equal turns to the accounts that call there, so that one which calls little is not refused for what others do.
    /// Accounts of services, those of plans with `address_share = false`, and callers with a certificate
    /// (`gateway.server.tls.client_ca`) are not counted. Behind a balancer the address is its client's, where
    /// `gateway.server.trusted_proxies` lists the balancer and it names its clients; else all have the balancer's, and 0, no limit,
    /// is right.
    pub accounts_per_address: u32,
    /// The Redis in which all instances of the gateway count together, `redis://…`. Not set: as `redis.url`. Empty: each
    /// counts for itself. While Redis doesn't answer, each instance admits its share, and Redis counts that when it is back.
    pub redis: Secret,
    /// What the keys of the counts in Redis begin with, 1 to 32 of a-z, 0-9 and `-`. Not set: as `redis.prefix`. Shops that share
    /// a Redis have different ones, or their clients share one allowance.
    pub prefix: String,
    /// How many instances share the limit.
    pub instances: NonZeroU32,
    /// Whether answers say what is left of the limits: by `RateLimit` and `RateLimit-Policy`
    /// (draft-ietf-httpapi-ratelimit-headers), which are metadata of gRPC.
    pub headers: bool,
    /// Limits of some methods, which a client's calls count for beside `burst` and `per_second`; 64 at most. Each has `methods`
    /// (`package.Service/Method`, or `package.Service` for all of them; the first names it to callers), `burst` and `per_second`.
    pub routes: Vec<RouteLimit>,
    /// Clients that have another limit than `burst` and `per_second` say, by the names of their plans; 32 at most. Each plan has
    /// `burst` and `per_second`, and says who is on it: `accounts` (`users/ID`, 1,000 at most in all), before `roles` (`customer`,
    /// `staff`, `service`). With `address_share = false` its accounts don't count for `accounts_per_address`.
    pub plans: BTreeMap<String, Plan>,
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
            headers: true,
            routes: Vec::new(),
            plans: BTreeMap::new(),
        }
    }
}

impl RateLimit {
    /// Whether calls can be counted by these settings.
    ///
    /// # Errors
    /// When a value is out of its range; the error names the key.
    pub fn check(&self) -> Result<(), ServeError> {
        // The same prefixes as those of caches: what stands in `redis` is taken over.
        let keys = RedisConfig { prefix: self.prefix.clone(), ..RedisConfig::default() };
        keys.check("gateway.rate_limit")?;
        let redis = self.redis.expose();
        if !redis.is_empty() {
            RedisSettings::new(redis).check().map_err(|error| no_redis(&error))?;
        }
        PlanTable::new(&self.plans)?;
        self.rules()?;
        self.address_share().map(drop)
    }

    /// Says at the start what nobody's calls count for; `is_there` knows the names of methods and services.
    pub(crate) fn warn_of_unused(&self, is_there: impl Fn(&str) -> bool) {
        warn_of_unknown(&self.routes, is_there);
        warn_of_unused(&self.plans);
    }

    /// The limits that are set: in front of identity, for calls that it refuses, and behind it. Both count in the same
    /// buckets: trying tokens costs as much as calling without one, and a good token that is remembered is not refused for what
    /// others at its address do without one. One that comes anew is not looked at while its address is over the limit. Behind
    /// identity, all accounts at an address have a share together, in which they come to equal turns.
    ///
    /// # Errors
    /// As [`RateLimit::check`].
    pub(crate) fn limits(&self) -> Result<(RateLimitLayer, RateLimitLayer), ServeError> {
        self.check()?;
        let Self { redis, prefix, instances, headers, plans, .. } = self;
        let builder = RateLimiter::builder().namespace(format!("{prefix}:gateway")).instances(instances.get());
        let limiter = if redis.expose().is_empty() {
            builder.in_process()
        } else {
            builder.redis(RedisSettings::new(redis.expose())).map_err(|error| no_redis(&error))?
        };
        let layer = RateLimitLayer::new(limiter, self.rules()?, Domain::new(DOMAIN));
        let layer = layer.plans(Arc::new(PlanTable::new(plans)?)).report(*headers);
        let refusals = layer.clone().counting_refusals();
        Ok((refusals, self.address_share()?.into_iter().fold(layer, RateLimitLayer::address_share)))
    }

    /// The limit of all calls, those of the plans in its place, and those of methods beside it.
    fn rules(&self) -> Result<Vec<Rule>, ServeError> {
        let Self { burst, per_second, routes, plans, .. } = self;
        let rate = Rate::per_second(u64::from(burst.get()), *per_second).map_err(no_rate)?;
        let mut rules = vec![Rule::new(CALLS, rate)];
        for (name, plan) in plans {
            rules.push(Rule::new(CALLS, plan.rate(name)?).plan(name.as_str()));
        }
        rules.extend(route_rules(routes)?);
        Ok(rules)
    }

    /// What all accounts at one address have together, if that is limited.
    fn address_share(&self) -> Result<Option<AddressShare>, ServeError> {
        let Self { burst, per_second, accounts_per_address, ref plans, .. } = *self;
        if accounts_per_address == 0 {
            return Ok(None);
        }
        let burst = u64::from(burst.get()) * u64::from(accounts_per_address);
        let rate = Rate::per_second(burst, per_second * f64::from(accounts_per_address)).map_err(no_rate)?;
        let exempt = plans.iter().filter(|(_, plan)| !plan.address_share).map(|(name, _)| name.as_str());
        Ok(Some(AddressShare::new(rate).exempt([Role::Service.as_str()]).exempt_plans(exempt)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_none_is_refused_by_its_key() {
        RateLimit::default().check().unwrap();
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = RateLimit { per_second, ..RateLimit::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with("gateway.rate_limit.per_second: "), "{refused}");
        }
    }

    #[test]
    fn a_redis_that_cannot_be_found_by_its_url_is_refused_by_its_key() {
        let check = |redis: &str| RateLimit { redis: Secret::new(redis), ..RateLimit::default() }.check();
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
            let refused = RateLimit { prefix: prefix.to_owned(), ..RateLimit::default() }.check().unwrap_err();
            assert!(refused.sentence.starts_with("gateway.rate_limit.prefix is "), "{refused}");
        }
    }
}

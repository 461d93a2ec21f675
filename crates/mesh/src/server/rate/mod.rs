//! Rate limits: how often who may call.
//!
//! A [`Rule`] says which calls count, by which [`Key`], and at which [`Rate`]; a [`RateLimiter`] holds the buckets, in the
//! process or (feature `redis`) in a Redis that all instances share; [`RateLimitLayer`] holds calls to the rules. The
//! buckets are counted in whole numbers, so that limits from one a day to 50,000 a second are exact: in any time `t` a
//! bucket admits at most `burst + rate × t` calls, however they come.

#![cfg_attr(not(feature = "redis"), allow(dead_code, reason = "what only shared buckets need"))]

mod bucket;
mod debt;
mod decision;
mod key;
mod layer;
mod limiter;
mod limits;
mod local;
mod plans;
#[allow(clippy::module_inception, reason = "the rate of a rate limit")]
mod rate;
#[cfg(feature = "redis")]
mod redis;
mod report;
mod rule;
#[cfg(feature = "redis")]
mod settings;
mod share;
#[cfg(test)]
mod tests;
mod turns;

pub(in crate::server) use self::decision::EventualDecision;
pub use self::decision::{Decision, Decisions, OnFailure, Quota, Source};
pub use self::layer::{RateLimitFuture, RateLimitLayer, RateLimitService};
pub use self::limiter::{RateLimiter, RateLimiterBuilder};
pub(in crate::server) use self::limits::RateLimits;
pub(in crate::server) use self::local::Wants;
pub use self::plans::Plans;
pub use self::rate::{InvalidRate, Rate};
pub(in crate::server) use self::report::{LimitFields, LimitReport};
pub use self::rule::{Key, Rule};
#[cfg(feature = "redis")]
pub use self::settings::{InvalidRedis, RedisSettings};
pub use self::share::AddressShare;

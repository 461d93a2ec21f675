//! A typed cache in two tiers, in the process and in Redis, that is never wrong for long.
//!
//! [`Tiers`] are what the caches of a process share; [`Tiers::cache`] is the cache of one kind of things. [`Cache::read`] is
//! cache-aside: it loads what no tier has, once for all who ask. [`Cache::put`] writes through what was committed. What is cached
//! is invalidated by time, by key and version ([`Cache::invalidate`]), by tag ([`Tiers::invalidate_tag`]) and by kind
//! ([`Tiers::invalidate_kind`]).
//!
//! A reader that has written asks for [`Wanted::AtLeast`] the [`Position`] of its write, and sees it. [`Remote`] is the seam to
//! the second tier; Redis is behind the feature `redis`.

mod cache;
mod envelope;
mod fill;
mod flight;
mod judge;
mod kind;
mod link;
mod local;
mod observer;
mod options;
mod position;
mod queue;
#[cfg(feature = "redis")]
pub mod redis;
mod refresh;
mod remote;
mod stats;
mod tiers;
mod typed;
mod value;

pub use cache::Cache;
pub use observer::{Miss, Observer, Tier};
pub use options::{CacheOptions, TiersOptions};
pub use position::{Position, Wanted};
#[cfg(feature = "redis")]
pub use redis::{InvalidRedis, RedisOptions, RedisRemote};
pub use remote::{Acquired, Item, Lease, LinkState, Listener, Mark, Remote, Stored, Unreachable};
pub use stats::{KindStats, Stats};
pub use tiers::{Replay, Tiers};
pub use value::{LoadError, Loaded, Value};

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

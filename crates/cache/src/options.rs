//! What a cache may be told: times and bounds, with defaults that suit most.

use std::sync::Arc;
use std::time::Duration;

use crate::observer::Observer;

/// For how long at most an entry of the local tier is valid, also while changes by others are told (CA-7).
const MAX_LOCAL_TTL: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// How one kind of things is cached. Values that make no sense are taken to the nearest that do.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// For how long a value is fresh; each gets up to 10 % more or less, so that they don't expire together (CA-1). Default: 60 s.
    pub ttl: Duration,
    /// For how long after that it may stand in while the source of truth fails (CA-8). Default: 5 min.
    pub stale: Duration,
    /// For how long "there is none" is fresh: 5 to 30 s (CA-5). Default: 10 s.
    pub negative_ttl: Duration,
    /// For how long the local tier answers by itself while changes by others are told, at most 60 s; else it is at most 1 s
    /// (CA-7). Default: 30 s.
    pub local_ttl: Duration,
    /// The bytes of the local tier. Default: 16 MiB.
    pub local_bytes: u64,
    /// How many "there is none" are stored in a second, so that guessed keys don't push out values. Default: 100.
    pub negatives_per_second: u32,
    /// How many loads are under way at once in each lane, also while all caches are empty (CA-8). Default: 16.
    pub max_loads: usize,
    /// How many lanes there are: one for each part of the source of truth, so that what one part does holds up no load of
    /// another; see [`Cache::lane`](crate::Cache::lane). Default: 1.
    pub lanes: usize,
    /// How long a load waits for a place among them; then it is [`LoadError::overloaded`](crate::LoadError::overloaded).
    /// Default: 2 s.
    pub load_wait: Duration,
    /// After which time of a load, the wait for a place included, a stale value is answered to readers of
    /// [`Wanted::Recent`](crate::Wanted::Recent), if there is one; the load goes on in the background (CA-8). Default: 1 s.
    pub stale_after: Duration,
    /// How long a load may take; then it is given up, and [`LoadError::overloaded`](crate::LoadError::overloaded). Default: 5 s.
    pub longest_load: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_mins(1),
            stale: Duration::from_mins(5),
            negative_ttl: Duration::from_secs(10),
            local_ttl: Duration::from_secs(30),
            local_bytes: 16 << 20,
            negatives_per_second: 100,
            max_loads: 16,
            lanes: 1,
            load_wait: Duration::from_secs(2),
            stale_after: Duration::from_secs(1),
            longest_load: Duration::from_secs(5),
        }
    }
}

impl CacheOptions {
    /// The same, within what makes sense.
    pub(crate) fn clamped(self) -> Self {
        Self {
            ttl: self.ttl.clamp(Duration::from_millis(10), DAY),
            stale: self.stale.min(DAY),
            negative_ttl: self.negative_ttl.clamp(Duration::from_secs(5), Duration::from_secs(30)),
            local_ttl: self.local_ttl.min(MAX_LOCAL_TTL),
            local_bytes: self.local_bytes.max(4 << 10),
            negatives_per_second: self.negatives_per_second,
            max_loads: self.max_loads.clamp(1, 10_000),
            lanes: self.lanes.clamp(1, 1_000),
            load_wait: self.load_wait.clamp(Duration::from_millis(1), Duration::from_mins(1)),
            stale_after: self.stale_after.clamp(Duration::from_millis(1), Duration::from_mins(1)),
            longest_load: self.longest_load.clamp(Duration::from_millis(10), Duration::from_mins(1)),
        }
    }
}

/// What all caches of a process share.
#[derive(Clone, Debug, Default)]
pub struct TiersOptions {
    /// Is told of hits, misses, loads and the link, for metrics.
    pub observer: Option<Arc<dyn Observer>>,
}

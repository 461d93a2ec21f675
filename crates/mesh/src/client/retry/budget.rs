//! The retry budget: retries as a share of recent calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::policy::RetryBudget;

/// How many parts a window has; a call counts for its length, give or take one part.
const BUCKETS: u64 = 10;

/// Allows `ratio × calls + min_per_second × ttl` retries and hedges in each window of `ttl`.
///
/// To count a call takes no lock; to ask for a retry takes one.
#[derive(Debug)]
pub struct Budget {
    ratio: f64,
    reserve: f64,
    bucket: Duration,
    start: Instant,
    /// The upper half says when, the lower half how many.
    calls: [AtomicU64; BUCKETS as usize],
    retries: Mutex<[u64; BUCKETS as usize]>,
}

impl Budget {
    /// No calls yet.
    pub fn new(policy: RetryBudget) -> Self {
        Self {
            ratio: policy.ratio,
            reserve: f64::from(policy.min_per_second) * policy.ttl.as_secs_f64(),
            bucket: (policy.ttl / BUCKETS as u32).max(Duration::from_millis(1)),
            start: Instant::now(),
            calls: Default::default(),
            retries: Mutex::default(),
        }
    }

    /// Counts a call that is made at `now`.
    pub(super) fn call(&self, now: Instant) {
        let tick = self.tick(now);
        let slot = &self.calls[(tick % BUCKETS) as usize];
        if slot.load(Ordering::Relaxed) >> 32 == tick {
            // One step where others count too. Should a new time begin meanwhile, the call counts there.
            slot.fetch_add(1, Ordering::Relaxed);
        } else {
            let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |slot| Some(add(slot, tick)));
        }
    }

    /// Counts a retry if it is allowed, and tells whether it is.
    pub(crate) fn retry(&self) -> bool {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = self.tick(Instant::now());
        let calls: u64 = self.calls.iter().map(|slot| count(slot.load(Ordering::Relaxed), tick)).sum();
        let made: u64 = retries.iter().map(|slot| count(*slot, tick)).sum();
        let allowed = (made + 1) as f64 <= self.ratio * calls as f64 + self.reserve;
        if allowed {
            let slot = &mut retries[(tick % BUCKETS) as usize];
            *slot = add(*slot, tick);
        }
        allowed
    }

    /// The number of the part of time that is now, from 1 on, so that an empty slot belongs to none.
    fn tick(&self, now: Instant) -> u64 {
        // In 64 bits, since a division of 128 takes many times as long; they hold 584 years.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let parts = nanos(now.saturating_duration_since(self.start)) / nanos(self.bucket);
        (parts & u64::from(u32::MAX)).saturating_add(1).min(u64::from(u32::MAX))
    }
}

/// `slot` with one more at `tick`; what it held of an older time is gone.
fn add(slot: u64, tick: u64) -> u64 {
    let count = if slot >> 32 == tick { slot & u64::from(u32::MAX) } else { 0 };
    tick << 32 | (count + 1).min(u64::from(u32::MAX))
}

/// What `slot` counts in the window that ends at `tick`.
fn count(slot: u64, tick: u64) -> u64 {
    let at = slot >> 32;
    if at != 0 && at <= tick && tick - at < BUCKETS { slot & u64::from(u32::MAX) } else { 0 }
}

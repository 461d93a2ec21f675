//! Counts of the last while, in ten buckets: exact to a tenth of it, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const BUCKETS: u64 = 10;
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const TICK_BITS: u32 = 24;
const TICK_MAX: u64 = (1 << TICK_BITS) - 1;

/// The buckets. The window is the current one and the nine before it.
///
/// A bucket is one word, so that it is counted and emptied in one step: its tick (24 bits), successes and failures (20
/// bits each). A bucket that is full counts no further: its first million calls stand for the rest.
#[derive(Debug)]
pub(super) struct Window {
    base: Instant,
    buckets: [AtomicU64; BUCKETS as usize],
}

impl Window {
    pub(super) fn new(base: Instant) -> Self {
        Self { base, buckets: Default::default() }
    }

    #[cfg(test)]
    pub(super) fn base(&self) -> Instant {
        self.base
    }

    /// The number of the current bucket, from 1: 0 marks one that was never used.
    fn tick(&self, now: Instant, window: Duration) -> u64 {
        // In 64 bits, since a division of 128 takes many times as long; they hold 584 years.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (nanos(window) / BUCKETS).max(1);
        (nanos(now.saturating_duration_since(self.base)) / bucket).saturating_add(1)
    }

    pub(super) fn record(&self, now: Instant, window: Duration, failed: bool) {
        let tick = self.tick(now, window);
        let bucket = &self.buckets[(tick % BUCKETS) as usize];
        let mut word = bucket.load(Ordering::Relaxed);
        loop {
            let (at, mut ok, mut bad) = unpack(word);
            if at != tick & TICK_MAX {
                (ok, bad) = (0, 0);
            }
            if ok == COUNT_MAX || bad == COUNT_MAX {
                return;
            }
            if failed {
                bad += 1;
            } else {
                ok += 1;
            }
            match bucket.compare_exchange_weak(word, pack(tick, ok, bad), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// Successes and failures in the window that ends now.
    pub(super) fn sum(&self, now: Instant, window: Duration) -> (u64, u64) {
        let tick = self.tick(now, window);
        let words = self.buckets.iter().map(|bucket| unpack(bucket.load(Ordering::Relaxed)));
        let live = words.filter(|(at, ok, bad)| ok + bad > 0 && tick.wrapping_sub(*at) & TICK_MAX < BUCKETS);
        live.fold((0, 0), |sum, (_, ok, bad)| (sum.0 + ok, sum.1 + bad))
    }

    pub(super) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

fn pack(tick: u64, ok: u64, bad: u64) -> u64 {
    (tick & TICK_MAX) << (2 * COUNT_BITS) | ok << COUNT_BITS | bad
}

fn unpack(word: u64) -> (u64, u64, u64) {
    (word >> (2 * COUNT_BITS), word >> COUNT_BITS & COUNT_MAX, word & COUNT_MAX)
}

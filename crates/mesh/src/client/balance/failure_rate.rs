//! A moving average of failures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stamped::{Stamped, remainder, ticks};

/// How long the rate remembers: without calls it falls to 37 % in so much time.
const MEMORY: u32 = ticks(Duration::from_secs(2));

/// What a call counts at least: at a high rate stamps hardly move.
const MIN_WEIGHT: f32 = 0.02;

/// A rate below it is none: a success then has nothing to write.
const NEGLIGIBLE: f32 = 0.001;

/// How old the stamp of a server without failures may be: a first failure after so much time counts no more than
/// [`MIN_WEIGHT`].
const REFRESH: u32 = ticks(Duration::from_millis(32));

/// There was no call yet. No rate looks like it: its value is no number.
const NO_CALL: u64 = u64::MAX;

/// The part of a server's calls that failed of late, 0 to 1: each call counts by the time since the one before, so that a
/// failure among many calls counts little, and the first of all counts full.
#[derive(Debug)]
pub(super) struct FailureRate(AtomicU64);

impl FailureRate {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(NO_CALL))
    }

    pub(super) fn forget(&self) {
        self.0.store(NO_CALL, Ordering::Relaxed);
    }

    pub(super) fn at(&self, now: u32) -> f32 {
        let word = self.0.load(Ordering::Relaxed);
        if word == NO_CALL {
            return 0.0;
        }
        let stamped = Stamped::unpack(word);
        if stamped.value == 0.0 { 0.0 } else { stamped.value * remainder(stamped.age(now), MEMORY) }
    }

    pub(super) fn record(&self, now: u32, failed: bool) {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (rate, weight) = if word == NO_CALL {
                (0.0, 1.0)
            } else {
                let old = Stamped::unpack(word);
                let age = old.age(now);
                if !failed && old.value == 0.0 && age < REFRESH {
                    return;
                }
                (old.value, (1.0 - remainder(age, MEMORY)).max(MIN_WEIGHT))
            };
            let rate = rate * (1.0 - weight) + if failed { weight } else { 0.0 };
            let value = if rate < NEGLIGIBLE { 0.0 } else { rate };
            let new = Stamped { value, at: now }.pack();
            match self.0.compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }
}

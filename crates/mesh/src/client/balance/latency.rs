//! A moving average of latency that takes a peak at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stamped::{Stamped, remainder, ticks};

/// How long the average remembers: after so much time a peak has faded to 37 %. A server that was a thousand times slower
/// than the others, and is picked no more, is tried again after seven times as long.
const MEMORY: u32 = ticks(Duration::from_secs(1));

/// What a sample counts at least: at a high rate stamps hardly move.
const MIN_WEIGHT: f32 = 0.02;

/// Of an average of which no more than this is left, a sample that says "at least" is all that is certain.
const FORGOTTEN: f32 = 0.05;

/// The average of one server.
///
/// Its sign says what it is made of: positive, of answers; negative, a lower bound. Zero: there was no sample.
#[derive(Debug)]
pub(super) struct LatencyAverage(AtomicU64);

/// The average at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub nanos: f32,
    /// How many ticks ago the last sample came; without one, since the server is new.
    pub age: u32,
    /// Whether there was a sample.
    pub sampled: bool,
    /// Whether the server may be slower than that, for all that its calls have shown.
    pub lower_bound: bool,
}

impl LatencyAverage {
    /// Without a sample, from `now` on.
    pub(super) fn new(now: u32) -> Self {
        Self(AtomicU64::new(Stamped { value: 0.0, at: now }.pack()))
    }

    pub(super) fn forget(&self, now: u32) {
        self.0.store(Stamped { value: 0.0, at: now }.pack(), Ordering::Relaxed);
    }

    pub(super) fn at(&self, now: u32) -> Latency {
        let stamped = Stamped::unpack(self.0.load(Ordering::Relaxed));
        let age = stamped.age(now);
        Latency {
            nanos: stamped.value.abs() * remainder(age, MEMORY),
            age,
            sampled: stamped.value != 0.0,
            lower_bound: stamped.value <= 0.0,
        }
    }

    /// Takes an answer after `nanos`; or, if it is not `exact`, that an answer would have taken at least as long.
    pub(super) fn record(&self, now: u32, nanos: f32, exact: bool) {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let old = Stamped::unpack(word);
            let age = old.age(now);
            let left = remainder(age, MEMORY);
            let average = old.value.abs() * left;
            let value = if nanos > average {
                let answered = exact || (old.value > 0.0 && left > FORGOTTEN);
                if answered { nanos } else { -nanos }
            } else if !exact || (age == 0 && old.value > 0.0) {
                // Within a tick of the last sample time gives a lower one no weight, and the least weight is only there so
                // that the average moves at all: one a tick is enough for that. A busy server is spared the write.
                return;
            } else {
                // The longer ago the average was true, the more the new sample counts, as it would have in between.
                let weight = left.min(1.0 - MIN_WEIGHT);
                average * weight + nanos * (1.0 - weight)
            };
            let new = Stamped { value, at: now }.pack();
            match self.0.compare_exchange_weak(word, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }
}

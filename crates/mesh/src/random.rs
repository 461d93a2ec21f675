//! Randomness that tests can fix.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers for jitter, picks and enforcement percentages. Not for secrets.
///
/// A clone of a seeded source draws from the same sequence.
#[derive(Clone, Debug, Default)]
pub struct Random(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Thread,
    Seeded(Arc<AtomicU64>),
}

/// The step of the sequence of SplitMix64: 2⁶⁴ divided by the golden ratio, odd.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    /// Seeded by the system, without shared state between threads.
    pub fn system() -> Self {
        Self(Source::Thread)
    }

    /// The sequence (SplitMix64) that `seed` begins: the same from run to run.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// A number among all of 64 bits.
    pub fn next_u64(&self) -> u64 {
        match &self.0 {
            Source::Thread => fastrand::u64(..),
            Source::Seeded(state) => {
                let mut z = state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^ (z >> 31)
            }
        }
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next_u64()) * bound as u128;
        (wide >> 64) as usize
    }

    /// A number in `[0, 1)`.
    pub fn fraction(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `[low, high)`.
    pub fn between(&self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.fraction()
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

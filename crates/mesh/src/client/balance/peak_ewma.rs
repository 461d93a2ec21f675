//! The better of two: `meshwork_peak_ewma`, the default.

use super::{Candidate, PickArgs, Picker};
use crate::random::Random;

/// Power of two choices: of two random endpoints the one where a call would wait less, by latency (a moving average that
/// takes a peak at once) times calls in flight, over weight. It sees a slow or frozen server by itself, and two random
/// choices keep callers from all running to the same one.
#[derive(Debug, Default)]
pub struct PeakEwma {
    random: Random,
}

impl PeakEwma {
    /// With its source of randomness.
    pub fn new(random: Random) -> Self {
        Self { random }
    }
}

impl Picker for PeakEwma {
    fn pick(&self, call: &PickArgs<'_>, ready: &[Candidate]) -> usize {
        let count = ready.len();
        if count < 2 {
            return 0;
        }
        // One draw for both: the lower half chooses one of all, the upper half one of the others.
        let draw = self.random.next_u64();
        let one = ((u64::from(draw as u32) * count as u64) >> 32) as usize;
        let other = (((draw >> 32) * (count as u64 - 1)) >> 32) as usize;
        let other = if other >= one { other + 1 } else { other };
        let cost = |index: usize| {
            let candidate = &ready[index];
            candidate.load().cost(call.now) / candidate.endpoint().get_weight() as f32
        };
        if cost(other) < cost(one) { other } else { one }
    }
}

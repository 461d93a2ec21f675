//! The better of two: `meshwork_peak_ewma`, the default.

use super::candidate::Candidate;
use super::estimate::Estimate;
use super::picker::{PickArgs, Picker};
use crate::random::Random;

/// So many pairs are drawn at most, if servers fail: however many do, one that doesn't gets no more than eight times its
/// even share.
const DRAWS: usize = 4;

/// Power of two choices: of two random endpoints the one where a call would wait less, by latency (a moving average that
/// takes a peak at once) times calls in flight, over weight. It sees a slow or frozen server by itself, and two random
/// choices keep callers from all running to the same one.
///
/// An endpoint of whose calls some fail or are refused is passed over for the other one in proportion to its rate of
/// failure; if that is passed over as well, two others are drawn, a few times. One failure among many calls costs next to
/// nothing; a server that always fails gets a call now and then, which shows when it has recovered. If all fail, those
/// that fail least are taken.
#[derive(Debug, Default)]
pub struct PeakEwma {
    random: Random,
}

impl PeakEwma {
    /// With its source of randomness.
    pub fn new(random: Random) -> Self {
        Self { random }
    }

    /// Two different ones of `count`, each with a number in `[0, 1)` of its own, by one draw.
    fn pair(&self, count: usize) -> [(usize, f32); 2] {
        let draw = self.random.next_u64();
        let (one, first) = split(draw as u32, count);
        let (other, second) = split((draw >> 32) as u32, count - 1);
        [(one, first), (if other >= one { other + 1 } else { other }, second)]
    }
}

/// Chooses one of `count` by random `bits`, and makes a number in `[0, 1)` of what that leaves of them.
fn split(bits: u32, count: usize) -> (usize, f32) {
    let scaled = u64::from(bits) * count as u64;
    let rest = (scaled as u32) >> 8;
    ((scaled >> 32) as usize, rest as f32 / (1_u32 << 24) as f32)
}

impl Picker for PeakEwma {
    fn pick(&self, call: &PickArgs<'_>, ready: &[Candidate]) -> usize {
        if ready.len() < 2 {
            return 0;
        }
        let (mut index_of_least, mut least) = (0, f32::INFINITY);
        for _ in 0..DRAWS {
            let [one, other] =
                self.pair(ready.len()).map(|(index, chance)| (index, chance, Estimate::of(&ready[index], call.now)));
            let pair = if other.2.is_cheaper_than(&one.2) { [other, one] } else { [one, other] };
            for (index, chance, estimate) in pair {
                if estimate.is_taken(chance) {
                    return index;
                }
                if estimate.failure_rate() < least {
                    (index_of_least, least) = (index, estimate.failure_rate());
                }
            }
        }
        index_of_least
    }
}

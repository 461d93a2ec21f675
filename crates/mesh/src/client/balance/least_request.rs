//! The least busy of a few: `least_request_experimental` (gRFC A48).

use super::candidate::Candidate;
use super::picker::{PickArgs, Picker};
use crate::random::Random;

/// Draws `choice_count` endpoints with replacement and takes the one with the fewest calls in flight; of equals, the one
/// that was drawn first.
#[derive(Debug)]
pub struct LeastRequest {
    choice_count: usize,
    random: Random,
}

impl LeastRequest {
    /// With 2 to 10 choices; what is beyond is brought into that range.
    pub fn new(choice_count: usize, random: Random) -> Self {
        Self { choice_count: choice_count.clamp(2, 10), random }
    }
}

impl Picker for LeastRequest {
    fn pick(&self, _call: &PickArgs<'_>, ready: &[Candidate]) -> usize {
        let mut best = self.random.below(ready.len());
        for _ in 1..self.choice_count {
            let other = self.random.below(ready.len());
            if ready[other].load().in_flight() < ready[best].load().in_flight() {
                best = other;
            }
        }
        best
    }
}

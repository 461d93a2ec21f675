//! One after the other: `round_robin`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::candidate::Candidate;
use super::picker::{PickArgs, Picker};
use crate::random::Random;

/// Takes the endpoints in turn, from a random one on, so that many clients don't begin at the same.
#[derive(Debug)]
pub struct RoundRobin {
    next: AtomicUsize,
}

impl RoundRobin {
    /// From a random endpoint on.
    pub fn new(random: &Random) -> Self {
        Self { next: AtomicUsize::new(random.below(1 << 16)) }
    }
}

impl Picker for RoundRobin {
    fn pick(&self, _call: &PickArgs<'_>, ready: &[Candidate]) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % ready.len()
    }
}

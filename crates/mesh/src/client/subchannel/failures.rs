//! Failures in a row, and what follows from them.

use std::time::Duration;

use crate::client::backoff::Backoff;
use crate::random::Random;

/// The failures in a row of one address, or of one health stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures(u32);

impl Failures {
    /// One more failure: how long to wait.
    pub(super) fn next(&mut self, backoff: &Backoff, random: &Random) -> Duration {
        self.0 = self.0.saturating_add(1);
        backoff.wait(self.0, random)
    }

    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

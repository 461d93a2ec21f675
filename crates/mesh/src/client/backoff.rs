//! Backoff with jitter: how long to wait before the next try.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::random::Random;

/// How the waits between tries grow: 1 s × 1.6 ± 20 %, at most 120 s, as gRPC's connection backoff.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// What the wait grows by.
    pub multiplier: f64,
    /// How far a wait may be off, as a share of it.
    pub jitter: f64,
    /// The longest wait, before jitter.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), multiplier: 1.6, jitter: 0.2, max: Duration::from_secs(120) }
    }
}

impl Backoff {
    /// How long to wait after `failures` failures in a row, from 1.
    pub fn wait(&self, failures: u32, random: &Random) -> Duration {
        let cap = self.max.as_secs_f64();
        let grown = self.initial.as_secs_f64() * self.multiplier.powi(failures.clamp(1, 1_000) as i32 - 1);
        // Growth beyond every number is infinite or none; the cap holds for both.
        let capped = if grown < cap { grown } else { cap };
        let jitter = random.between(1.0 - self.jitter, 1.0 + self.jitter);
        Duration::try_from_secs_f64(capped * jitter).unwrap_or(self.max)
    }
}

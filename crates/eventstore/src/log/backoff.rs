//! Pauses between tries.

use std::time::Duration;

/// The first pause at most.
const LEAST: u64 = 2_000;
/// The longest pause. In microseconds, as the others.
const MOST: u64 = 50_000;

/// Pauses that grow from 2 to 50 ms, each drawn from its upper half.
#[derive(Debug)]
pub(super) struct Backoff {
    micros: u64,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { micros: LEAST }
    }

    /// Waits; `random` gives a number below the one that it is given.
    pub(super) async fn pause(&mut self, random: impl Fn(u64) -> u64) {
        let half = self.micros / 2;
        let micros = half + random(half);
        self.micros = (self.micros * 2).min(MOST);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

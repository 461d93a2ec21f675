//! Pauses between tries.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Pauses that double from 50 ms to 5 s, each shortened by up to a half at random, so that those who failed together
/// don't come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    last: Duration,
}

const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(5);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::between(FIRST, LAST)
    }

    /// As [`new`](Self::new), with another first and longest pause.
    pub(crate) fn between(first: Duration, last: Duration) -> Self {
        Self { next: first, last }
    }

    /// Waits; returns false when `shutdown` came first.
    pub(crate) async fn pause(&mut self, shutdown: &CancellationToken) -> bool {
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(self.last);
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}

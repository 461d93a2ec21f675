//! Failures of upstreams in the log: a line a second, however many there are.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Says which failures are logged.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    last: Option<Instant>,
    unlogged: u64,
}

impl FailureLog {
    /// Counts a failure. `Some`: it is logged, after so many that were not.
    pub(super) fn count(&self) -> Option<u64> {
        let now = Instant::now();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            lines.unlogged = lines.unlogged.saturating_add(1);
            return None;
        }
        lines.last = Some(now);
        Some(std::mem::take(&mut lines.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failure_a_second_is_logged_with_the_number_of_the_others() {
        let log = FailureLog::default();
        assert_eq!(log.count(), Some(0));
        for _ in 0..1_000 {
            assert_eq!(log.count(), None);
        }
        tokio::time::advance(PAUSE).await;
        assert_eq!(log.count(), Some(1_000));
        assert_eq!(log.count(), None);
        tokio::time::advance(PAUSE).await;
        assert_eq!(log.count(), Some(1));
    }
}

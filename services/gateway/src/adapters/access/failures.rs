//! How many failures are logged that the sample would leave out.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// As many in a second: when everything fails, the log is not to hold up what is left.
const EACH_SECOND: u32 = 100;

/// Counts the failures that are logged beside the sample.
#[derive(Debug)]
pub(super) struct FailureBound {
    began: Instant,
    /// A second since then, and how many there were in it.
    counted: Mutex<(u64, u32)>,
}

impl Default for FailureBound {
    fn default() -> Self {
        Self { began: Instant::now(), counted: Mutex::default() }
    }
}

impl FailureBound {
    /// Whether one more is logged now.
    pub(super) fn admit(&self) -> bool {
        let now = self.began.elapsed().as_secs();
        // Each change behind the lock is one step.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if counted.0 == now { counted.1 } else { 0 };
        *counted = (now, before.saturating_add(1));
        before < EACH_SECOND
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_second_has_its_share() {
        let bound = FailureBound::default();
        for _ in 0..3 {
            assert_eq!((0..1_000).filter(|_| bound.admit()).count(), 100);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}

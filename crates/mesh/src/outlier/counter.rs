//! The counts of an endpoint's calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tonic::Code;

use crate::outcome::Outcome;

/// Counts the calls of one endpoint in the interval that runs: two relaxed atomics a call.
#[derive(Debug)]
pub struct Counter {
    enabled: AtomicBool,
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Counter {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled: AtomicBool::new(enabled), ok: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// Counts a call that ended. Whatever isn't OK is a failure; a call that its caller gave up is neither.
    pub fn record(&self, outcome: Outcome) {
        if outcome == Outcome::Cancelled || !self.enabled() {
            return;
        }
        let count = if outcome == Outcome::Status(Code::Ok) { &self.ok } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether calls are counted: not while the policy asks for nothing.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(super) fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Ends an interval: successes and failures in it. Taking both is what swapping two buckets comes to.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.ok.swap(0, Ordering::Relaxed), self.failed.swap(0, Ordering::Relaxed))
    }
}

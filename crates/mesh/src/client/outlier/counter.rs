//! The counts of an endpoint's calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

    /// Counts a call that ended. Failures are what speaks against a server: gRFC A50 leaves it open, and were every code but
    /// OK one, any caller could have servers ejected by what it asks for. What a call's caller did is neither.
    pub fn record(&self, outcome: Outcome) {
        if !outcome.is_judged() || !self.enabled() {
            return;
        }
        let count = if outcome.is_failure() { &self.failed } else { &self.ok };
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

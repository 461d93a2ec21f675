//! How many circuits of a channel may be open at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// A bound for circuits that are not closed: at most a share of the endpoints that are connected, rounded down.
///
/// A method that fails on all servers, or a caller who finds one that does, must not take the other methods from everybody
/// else. An open circuit helps only where another endpoint can answer instead; so with a share below 100 % the circuit of
/// an only endpoint stays closed.
#[derive(Debug, Default)]
pub struct OpenShare {
    percent: AtomicU32,
    endpoints: AtomicUsize,
    open: AtomicUsize,
}

impl OpenShare {
    /// `percent` of `endpoints`. Circuits that are open already stay so.
    pub fn set(&self, percent: u32, endpoints: usize) {
        self.percent.store(percent, Ordering::Relaxed);
        self.endpoints.store(endpoints, Ordering::Relaxed);
    }

    /// How many circuits are open or half-open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for one more open circuit, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<OpenPlace> {
        let endpoints = self.endpoints.load(Ordering::Relaxed);
        let most = endpoints.saturating_mul(self.percent.load(Ordering::Relaxed) as usize) / 100;
        let more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(OpenPlace(Arc::clone(self)))
    }
}

/// The place of one open circuit; dropped, it is free.
#[derive(Debug)]
pub(super) struct OpenPlace(Arc<OpenShare>);

impl Drop for OpenPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

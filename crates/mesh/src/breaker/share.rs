//! How many circuits of a channel may be open at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound for circuits that are not closed: at most a share of the endpoints that are connected, rounded down.
///
/// A method that fails on all servers, or a caller who finds one that does, must not take the other methods from everybody
/// else. An open circuit helps only where another endpoint can answer instead; so with a share below 100 % the circuit of
/// an only endpoint stays closed.
#[derive(Debug, Default)]
pub struct OpenShare {
    most: AtomicUsize,
    open: AtomicUsize,
}

impl OpenShare {
    /// `percent` of the `connected` endpoints; the open circuits of `absent` others, which could answer nothing anyway, don't
    /// count. Circuits that are open already stay so.
    pub fn set(&self, percent: u32, connected: usize, absent: usize) {
        let most = connected.saturating_mul(percent as usize) / 100 + absent;
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many circuits are open or half-open.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for one more open circuit, if there is one.
    pub(super) fn take(self: &Arc<Self>) -> Option<OpenPlace> {
        let most = self.most.load(Ordering::Relaxed);
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

//! The signal to the driver of a connection that nobody needs it any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// Whether a connection is abandoned, as its last handle or stream tells its driver.
#[derive(Debug, Default)]
pub(super) struct Abandonment {
    /// Whether no handle and no stream is left.
    abandoned: AtomicBool,
    /// Woken when that is so: `h2` wakes nobody for it while it waits for the peer to take bytes.
    driver: AtomicWaker,
}

impl Abandonment {
    /// No handle and no stream is left.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Whether no handle and no stream is left. Asked after [`Self::register`], it misses nothing.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// The waker of the driver's task.
    pub(super) fn register(&self, waker: &Waker) {
        self.driver.register(waker);
    }
}

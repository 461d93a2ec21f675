//! What the handles and streams of a connection signal to its driver, without a lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// Signals to the driver of one connection.
#[derive(Debug, Default)]
pub(super) struct DriverSignals {
    /// Whether a call did something that wakes the driver since this was last taken.
    calls: AtomicBool,
    /// Whether no handle and no stream is left.
    abandoned: AtomicBool,
    /// Woken when that is so: `h2` wakes nobody for it while it waits for the peer to take bytes.
    driver: AtomicWaker,
}

impl DriverSignals {
    /// A call puts frames in, makes room or ends, which wakes the driver. A hint and no more: it may be lost or late, so that
    /// it needs no order.
    pub(super) fn note_call(&self) {
        // Of a batch only the first writes.
        if !self.calls.load(Ordering::Relaxed) {
            self.calls.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a call did something since this was last called.
    pub(super) fn take_calls(&self) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        if calls {
            self.calls.store(false, Ordering::Relaxed);
        }
        calls
    }

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

//! The waker of a connection that does not wake it for what it does itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// What `h2` wakes when a stream has something to send. While the connection's own task runs calls, it is going to poll `h2`
/// after them anyway: to be woken for each would poll the whole connection once more for nothing.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: AtomicU8,
    task: AtomicWaker,
}

const OPEN: u8 = 0;
const SHUT: u8 = 1;
/// Set by who wakes, so that what was done before it is seen by who opens the gate.
const WOKEN: u8 = 2;

impl Gate {
    /// Whom to wake.
    pub(super) fn register(&self, waker: &Waker) {
        self.task.register(waker);
    }

    /// From now on nobody is woken.
    pub(super) fn shut(&self) {
        self.state.store(SHUT, Ordering::Release);
    }

    /// The end of that. What `h2` was woken for meanwhile is seen by whoever polls it from now on.
    pub(super) fn open(&self) {
        self.state.swap(OPEN, Ordering::AcqRel);
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A write even when the gate is open: it comes either before the gate's opening, which then sees what it is about,
        // or after it, and then it wakes.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) & SHUT == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn nobody_is_woken_while_the_gate_is_shut() {
        let (gate, count) = (Arc::new(Gate::default()), Arc::new(Count::default()));
        let (waker, task) = (Waker::from(Arc::clone(&gate)), Waker::from(Arc::clone(&count)));
        gate.register(&task);
        gate.shut();
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        gate.open();
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}

//! The calls of one connection: how many are open, and since when there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The low bits of the state: milliseconds from the begin of the connection, enough for 34 years. Above is the number
/// of calls.
const TIME_BITS: u32 = 40;
/// One call.
const ONE: u64 = 1 << TIME_BITS;
/// The latest time.
const LATEST: u64 = ONE - 1;

/// The calls of a connection. Their number and the time of the last end are one word: nobody sees the one without the
/// other.
#[derive(Debug)]
pub(in crate::server) struct OpenCalls {
    began: Instant,
    state: AtomicU64,
}

impl OpenCalls {
    pub(in crate::server) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), state: AtomicU64::new(0) })
    }

    /// A call begins.
    pub(in crate::server) fn begin(self: &Arc<Self>) -> OpenCall {
        self.state.fetch_add(ONE, Ordering::AcqRel);
        OpenCall(Arc::clone(self))
    }

    /// Since when there is no call: when the last one ended, or the connection began. `None` while there is one.
    pub(in crate::server) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.load(Ordering::Acquire);
        (state < ONE).then(|| self.began + Duration::from_millis(state))
    }

    fn end(&self) {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            // Only the last one has to know the time.
            let next = if state < 2 * ONE { self.now() } else { state - ONE };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => state = found,
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(LATEST).min(LATEST)
    }
}

/// A call that goes on; dropped when the last byte of its answer has been written, or when it is over otherwise.
#[derive(Debug)]
pub(in crate::server) struct OpenCall(Arc<OpenCalls>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_call() {
        let (began, calls) = (Instant::now(), OpenCalls::new());
        assert_eq!(calls.idle_since(), Some(began));
        let (first, second) = (calls.begin(), calls.begin());
        advance(Duration::from_secs(5)).await;
        drop(first);
        assert_eq!(calls.idle_since(), None);
        advance(Duration::from_secs(5)).await;
        drop(second);
        advance(Duration::from_secs(5)).await;
        assert_eq!(calls.idle_since(), Some(began + Duration::from_secs(10)));
        let third = calls.begin();
        assert_eq!(calls.idle_since(), None);
        drop(third);
        assert_eq!(calls.idle_since(), Some(began + Duration::from_secs(15)));
    }

    #[test]
    fn s8_whoever_sees_no_call_sees_when_the_last_one_ended() {
        let calls = OpenCalls::new();
        // Long after the begin, which is what a stale time would say.
        std::thread::sleep(Duration::from_millis(20));
        let from = Instant::now() - Duration::from_millis(2);
        drop(calls.begin());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..20_000).for_each(|_| drop(calls.begin())));
            }
            for _ in 0..20_000 {
                assert!(calls.idle_since().is_none_or(|since| since >= from));
            }
        });
        assert!(calls.idle_since().is_some());
    }
}

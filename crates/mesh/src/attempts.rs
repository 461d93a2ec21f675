//! Attempts that callers share: one at a time, whose outcome all who wait get.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

/// Makes one attempt at a time. Whoever comes while it is under way waits for that one and gets its outcome, be it a
/// success or a failure; an attempt goes on when its callers have gone.
pub(crate) struct Attempts<T: Clone>(Mutex<Option<Shared<BoxFuture<'static, T>>>>);

impl<T: Clone> Default for Attempts<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Attempts<T> {
    /// The outcome of the attempt that is under way; else that of the last one, if it still `holds`; else that of a new
    /// one. What `begin` gives must end by itself within a bound, and must not panic.
    pub(crate) async fn outcome<F>(&self, holds: impl FnOnce(&T) -> bool, begin: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let attempt = {
            let mut last = self.last();
            match last.take().filter(|attempt| attempt.peek().is_none_or(holds)) {
                Some(attempt) => last.insert(attempt).clone(),
                None => {
                    let attempt = begin().boxed().shared();
                    tokio::spawn(attempt.clone());
                    last.insert(attempt).clone()
                }
            }
        };
        attempt.await
    }

    fn last(&self) -> MutexGuard<'_, Option<Shared<BoxFuture<'static, T>>>> {
        // What is behind the lock is replaced whole, so that a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An attempt of a second, whose outcome is how many were begun before it.
    fn attempt(begun: &AtomicUsize) -> impl Future<Output = usize> + Send + use<> {
        let number = begun.fetch_add(1, Ordering::SeqCst);
        async move {
            sleep(SECOND).await;
            number
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_come_while_an_attempt_is_under_way_get_its_outcome() {
        let (attempts, begun) = (Attempts::<usize>::default(), AtomicUsize::new(0));
        let never = || attempts.outcome(|_| false, || attempt(&begun));
        assert_eq!(tokio::join!(never(), never(), never()), (0, 0, 0));
        assert_eq!(never().await, 1, "what doesn't hold is tried anew");
        assert_eq!(attempts.outcome(|last| *last == 1, || attempt(&begun)).await, 1, "what holds is not");
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_goes_on_when_its_callers_have_gone() {
        let (attempts, begun) = (Attempts::<usize>::default(), AtomicUsize::new(0));
        timeout(SECOND / 2, attempts.outcome(|_| true, || attempt(&begun))).await.unwrap_err();
        sleep(SECOND).await;
        let last = timeout(SECOND / 2, attempts.outcome(|_| true, || attempt(&begun))).await.unwrap();
        assert_eq!((last, begun.load(Ordering::SeqCst)), (0, 1));
    }
}

//! Attempts that callers share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// Makes one attempt at a time. Whoever comes while it is under way waits for that one and gets its outcome, be it a
/// success or a failure; an attempt goes on when its callers have gone.
pub(super) struct Attempts<T: Clone>(Mutex<Option<Shared<BoxFuture<'static, T>>>>);

impl<T: Clone> Default for Attempts<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Attempts<T> {
    /// The outcome of the attempt that is under way; else that of the last one, if it still `holds`; else that of a new
    /// one. What `begin` gives must end by itself within a bound.
    pub(super) async fn outcome<F>(&self, holds: impl FnOnce(&T) -> bool, begin: impl FnOnce() -> F) -> T
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

    /// Forgets the last attempt's outcome if it is `such`. An attempt that is under way goes on.
    pub(super) fn forget(&self, such: impl FnOnce(&T) -> bool) {
        let mut last = self.last();
        if last.as_ref().and_then(Shared::peek).is_some_and(such) {
            *last = None;
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Shared<BoxFuture<'static, T>>>> {
        // What is behind the lock is replaced whole, so that a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

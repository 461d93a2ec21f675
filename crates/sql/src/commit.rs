//! What is done once a transaction is committed.

use std::sync::{Arc, Mutex, PoisonError};

type Callback = Box<dyn FnOnce() + Send>;

tokio::task_local! {
    static CALLBACKS: Callbacks;
}

/// What the transaction that runs now has asked for.
#[derive(Clone, Default)]
pub(crate) struct Callbacks(Arc<Mutex<Vec<Callback>>>);

impl Callbacks {
    /// Runs the work of a transaction, whose [`on_commit`] adds to these.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        CALLBACKS.scope(self.clone(), work).await
    }

    /// Calls what was asked for: the transaction is committed.
    pub fn call(&self) {
        let callbacks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        callbacks.into_iter().for_each(|callback| callback());
    }
}

/// Has `callback` called once the transaction whose work runs now is committed, and not at all if it isn't: to wake who
/// waits for what it has written, say. It is called by who commits and must be quick; outside of a transaction's work it is
/// not called.
pub fn on_commit(callback: impl FnOnce() + Send + 'static) {
    let add = |callbacks: &Callbacks| {
        callbacks.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(callback));
    };
    // Without a transaction there is no commit to wait for.
    CALLBACKS.try_with(add).ok();
}

//! What a task carries along, to the work that it has done for it elsewhere.

use std::any::Any;
use std::sync::Arc;

use tokio::task::futures::TaskLocalFuture;

type Value = Arc<dyn Any + Send + Sync>;

tokio::task_local! {
    static CARRIED: Option<Value>;
}

/// A future that runs carrying a value; see [`carrying`].
pub type Carrying<F> = TaskLocalFuture<Option<Value>, F>;

/// Runs `work` carrying `value`, which [`carried`] finds there and in the transactions that it asks for, whichever task does
/// their work. What is spawned carries nothing. One value is carried at a time: within, another takes its place.
pub fn carrying<T: Any + Send + Sync, F: Future>(value: Arc<T>, work: F) -> Carrying<F> {
    CARRIED.scope(Some(value), work)
}

/// What the running task carries; `None` when that is nothing, or of another type.
pub fn carried<T: Any + Send + Sync>() -> Option<Arc<T>> {
    capture()?.downcast().ok()
}

/// What the running task carries, to be restored where its work is done.
pub(crate) fn capture() -> Option<Value> {
    CARRIED.try_with(Clone::clone).ok().flatten()
}

/// Runs `work` with what was carried where it was asked for.
pub(crate) async fn restored<F: Future>(captured: Option<Value>, work: F) -> F::Output {
    CARRIED.scope(captured, work).await
}

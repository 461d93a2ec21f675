//! Calls in flight to one target, over all channels of the process (gRFC A32).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::bodies::Finish;
use crate::outcome::Outcome;

type Name = (Arc<str>, Arc<str>);

/// The counts of the process. An entry is there while somebody holds its count: a limit, or a permit.
static COUNTS: LazyLock<Mutex<HashMap<Name, Weak<Count>>>> = LazyLock::new(Mutex::default);

fn counts() -> MutexGuard<'static, HashMap<Name, Weak<Count>>> {
    // A panic can't leave the map half changed.
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Count {
    name: Name,
    in_flight: AtomicUsize,
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut counts = counts();
        // Another one may have taken its place meanwhile.
        if counts.get(&self.name).is_some_and(|count| count.strong_count() == 0) {
            counts.remove(&self.name);
        }
    }
}

/// A limit of calls in flight. Limits of the same target and name share their count, not their number: lowering it by a new
/// limit lets the calls that are under way end, and refuses others until there are fewer.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    count: Arc<Count>,
    limit: usize,
}

impl ConcurrencyLimit {
    /// A limit for what `name` is at `target`, such as a service of a cluster.
    pub fn new(target: &str, name: &str, limit: usize) -> Self {
        let name: Name = (target.into(), name.into());
        let mut counts = counts();
        let count = counts.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let count = Arc::new(Count { name: name.clone(), in_flight: AtomicUsize::new(0) });
            counts.insert(name, Arc::downgrade(&count));
            count
        });
        Self { count, limit }
    }

    /// A limit for the whole target.
    pub fn of_target(target: &str, limit: usize) -> Arc<Self> {
        Arc::new(Self::new(target, "", limit))
    }

    /// A place for one more call, unless there are as many as the limit allows. Two atomic steps, no lock.
    pub fn try_acquire(&self) -> Option<Permit> {
        let more = |now: usize| (now < self.limit).then_some(now + 1);
        self.count.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Permit(Arc::clone(&self.count)))
    }

    /// The most calls at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The calls in flight now, those of others that share the count among them.
    pub fn in_flight(&self) -> usize {
        self.count.in_flight.load(Ordering::Acquire)
    }
}

/// The place of one call; dropped at the end of its response, it is free again.
#[derive(Debug)]
#[must_use = "dropped, the place is given back"]
pub struct Permit(Arc<Count>);

impl Finish for Permit {
    /// Gives the place back.
    fn finish(self, _: Outcome) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
pub(super) fn knows(target: &str) -> bool {
    counts().keys().any(|(known, _)| &**known == target)
}

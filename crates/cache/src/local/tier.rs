//! The entries of one kind in memory.

use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use moka::sync::Cache;
use tokio::time::Instant;

use super::entry::Entry;
use super::registrations::{Joined, Registrations, Ticket};
use crate::kind::Kind;
use crate::observer::Miss;
use crate::options::CacheOptions;
use crate::position::Wanted;
use crate::stats::{Counters, KindStats};

/// For how long after its last use moka remembers what nobody may be given any more.
const AFTERWARDS: Duration = Duration::from_mins(1);

/// The local tier of a kind: entries within a bound of bytes, and who is about to insert. `F` is a flight.
pub(crate) struct LocalTier<V, F> {
    kind: &'static str,
    entries: Cache<Arc<str>, Arc<Entry<V>>, RandomState>,
    registrations: Arc<Registrations<F>>,
    counters: Counters,
}

impl<V: Send + Sync + 'static, F: Clone + Send + Sync + 'static> LocalTier<V, F> {
    pub(crate) fn new(kind: &'static str, options: &CacheOptions, counters: Counters) -> Self {
        // This is for memory alone: what is valid is decided at each read.
        let longest = options.ttl.max(options.negative_ttl).mul_f64(1.1) + options.stale + AFTERWARDS;
        let entries = Cache::builder()
            .max_capacity(options.local_bytes)
            .weigher(|_key: &Arc<str>, entry: &Arc<Entry<V>>| entry.weight)
            .time_to_live(longest)
            .build_with_hasher(RandomState::default());
        Self { kind, entries, registrations: Registrations::new(), counters }
    }

    /// A valid entry that is as fresh as wanted, or why there is none.
    pub(crate) fn look(
        &self,
        key: &str,
        wanted: Wanted,
        now: Instant,
        is_tracking: impl FnOnce() -> bool,
    ) -> Result<Arc<Entry<V>>, Miss> {
        let entry = self.entries.get(key).ok_or(Miss::Absent)?;
        if !entry.is_current() {
            return Err(Miss::Invalidated);
        }
        if !entry.is_fresh(now, is_tracking) {
            return Err(Miss::Expired);
        }
        match wanted {
            Wanted::AtLeast(asked) if !entry.position.is_some_and(|position| position.covers(&asked)) => {
                Err(Miss::NotFresh)
            }
            _ => Ok(entry),
        }
    }

    /// A value that may stand in while the source of truth fails: past its time, but not known to be outdated.
    pub(crate) fn stale(&self, key: &str, now: Instant) -> Option<Arc<Entry<V>>> {
        self.entries.get(key).filter(|entry| entry.is_current() && entry.value.is_some() && now < entry.times.hard)
    }

    /// Whether a value is there, valid or not.
    pub(crate) fn has_value(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.value.is_some())
    }

    /// Registers an insertion that nobody waits for.
    pub(crate) fn begin(&self, key: &str) -> Ticket<F> {
        self.registrations.begin(key)
    }

    /// Joins the flight of a key, or begins one.
    pub(crate) fn join(&self, key: &str, accepts: impl FnOnce(&F) -> bool, make: impl FnOnce() -> F) -> Joined<F> {
        self.registrations.join(key, accepts, make)
    }

    /// Inserts what was filled, unless something newer is known.
    pub(crate) fn finish(&self, ticket: Ticket<F>, entry: Entry<V>, is_tracking: impl FnOnce() -> bool) {
        let now = Instant::now();
        // An entry carries the generations of its beginning: should a cell move right after this, it is invalid all the same.
        if !entry.is_current() {
            return;
        }
        let key = Arc::clone(ticket.key());
        // Whatever was committed meanwhile may have created what there was none of.
        let version = if entry.value.is_some() { entry.version } else { 0 };
        ticket.finish(version, || {
            let newer = self.entries.get(&*key).filter(|there| {
                there.value.is_some()
                    && there.version > entry.version
                    && there.is_current()
                    && there.is_fresh(now, is_tracking)
            });
            if newer.is_none() {
                self.entries.insert(key, Arc::new(entry));
            } else if entry.value.is_none() {
                // Which of the two is newer, "there is none" or the value, can't be told: neither is kept.
                self.entries.invalidate(&*key);
            }
        });
    }
}

impl<V: Send + Sync + 'static, F: Clone + Send + Sync + 'static> Kind for LocalTier<V, F> {
    fn name(&self) -> &'static str {
        self.kind
    }

    fn invalidate(&self, key: &str, version: Option<u64>) {
        self.registrations.invalidate(key, version, || {
            let is_newer =
                |version| self.entries.get(key).is_some_and(|entry| entry.value.is_some() && entry.version >= version);
            if !version.is_some_and(is_newer) {
                self.entries.invalidate(key);
            }
        });
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn stats(&self) -> KindStats {
        self.entries.run_pending_tasks();
        self.counters.read(self.entries.entry_count(), self.entries.weighted_size())
    }
}

//! One cache, as its reads and writes share it: local tier, bounds, and how an entry is made.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::envelope::{Content, Envelope, MAX_VALUE};
use crate::flight::Flight;
use crate::kind::Kind as _;
use crate::local::{Entry, Linked, LocalTier, Stamp, Tags, Times, kind_tag};
use crate::options::CacheOptions;
use crate::position::Position;
use crate::remote::Item;
use crate::stats::{Counters, count};
use crate::tiers::Tiers;
use crate::value::{LoadError, Loaded, Value};

/// About what an entry has beside its key and value.
const ENTRY_WEIGHT: usize = 256;
/// How many lists of tags are remembered; others are made anew each time.
const MAX_TAG_LISTS: usize = 64;

/// A cache of one kind.
pub(crate) struct TypedCache<V, E> {
    pub(crate) tiers: Tiers,
    pub(crate) options: CacheOptions,
    pub(crate) local: Arc<LocalTier<V, Arc<Flight<V, E>>>>,
    kind_tag: String,
    /// The lists of tags that reads and writes have had.
    tag_lists: RwLock<Vec<Arc<Tags>>>,
    /// The places among the loads, by lane.
    lanes: Vec<Semaphore>,
    negatives: Mutex<Second>,
}

/// The negatives that were stored in the second that began then.
struct Second {
    began: Instant,
    stored: u32,
}

/// What a load has found, and when.
pub(crate) struct Found<V> {
    pub(crate) loaded: Loaded<V>,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
}

/// A value that is about to be stored, with all that an entry of either tier needs.
pub(crate) struct Fresh<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) version: u64,
    pub(crate) position: Option<Position>,
    pub(crate) times: Times,
}

impl<V: Value, E: LoadError> TypedCache<V, E> {
    pub(crate) fn new(tiers: Tiers, options: CacheOptions) -> Self {
        let options = options.clamped();
        let counters = Counters::new(V::KIND, tiers.observer());
        let local = Arc::new(LocalTier::new(V::KIND, &options, counters));
        let lanes = (0..options.lanes).map(|_| Semaphore::new(options.max_loads)).collect();
        let negatives = Mutex::new(Second { began: Instant::now(), stored: 0 });
        Self { tiers, options, local, kind_tag: kind_tag(V::KIND), tag_lists: RwLock::default(), lanes, negatives }
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.local.counters()
    }

    /// The tags of an entry: that of the kind, and its own.
    pub(crate) fn tags(&self, own: &[&'static str]) -> Arc<Tags> {
        let known = known(&self.tag_lists.read().unwrap_or_else(PoisonError::into_inner), own);
        known.unwrap_or_else(|| self.note_tags(own))
    }

    fn note_tags(&self, own: &[&'static str]) -> Arc<Tags> {
        let tags = self.tiers.cells().tags(&self.kind_tag, own);
        let mut lists = self.tag_lists.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known(&lists, own) {
            return known;
        }
        if lists.len() < MAX_TAG_LISTS {
            lists.push(Arc::clone(&tags));
        }
        tags
    }

    /// How the remote tier is linked now, for an entry whose fill begins.
    pub(crate) fn linked(&self) -> Linked {
        let link = self.tiers.link();
        Linked { is_up: link.readable().is_some(), is_tracking: link.is_tracking(), local_ttl: self.options.local_ttl }
    }

    /// Asks the source of truth, as soon as there is a place among the loads of the lane (CA-8).
    pub(crate) async fn load<L, F>(&self, lane: usize, load: &L) -> Result<Found<V>, E>
    where
        L: Fn() -> F + Send + Sync,
        F: Future<Output = Result<Loaded<V>, E>> + Send,
    {
        // It is never closed: what can go wrong is the time.
        let places = &self.lanes[lane % self.lanes.len()];
        let Ok(Ok(_place)) = timeout(self.options.load_wait, places.acquire()).await else {
            tracing::debug!(kind = V::KIND, lane, most = self.options.max_loads, "no place among the loads");
            return Err(E::overloaded());
        };
        let began = Instant::now();
        let longest = self.options.longest_load;
        let loaded = timeout(longest, load()).await.unwrap_or_else(|_| {
            tracing::debug!(kind = V::KIND, lane, "a load was given up after {longest:?}; look at the source of truth");
            Err(E::overloaded())
        });
        let took = began.elapsed();
        self.counters().load(took, loaded.is_ok());
        Ok(Found { loaded: loaded?, began, took })
    }

    /// Whether one more "there is none" may be stored in this second (CA-5).
    pub(crate) fn may_store_negative(&self) -> bool {
        let now = Instant::now();
        let mut second = self.negatives.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(second.began) >= Duration::from_secs(1) {
            *second = Second { began: now, stored: 0 };
        }
        let may = second.stored < self.options.negatives_per_second;
        second.stored += u32::from(may);
        may
    }

    /// Until when something that was current at `began` is what; each a little different (CA-1).
    pub(crate) fn times(&self, began: Instant, load: Duration, is_negative: bool) -> Times {
        let (ttl, stale) = if is_negative {
            (self.options.negative_ttl, Duration::ZERO)
        } else {
            (self.options.ttl, self.options.stale)
        };
        let soft = began + jittered(ttl);
        Times { born: began, seen: began, soft, hard: soft + stale, load }
    }

    /// An entry of the local tier.
    pub(crate) fn entry(&self, key: &str, fresh: Fresh<V>, stamp: Stamp, linked: Linked) -> Entry<V> {
        let weight = ENTRY_WEIGHT + key.len() + fresh.value.as_ref().map_or(0, |value| value.weight());
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        Entry::new(fresh.value, (fresh.version, fresh.position), fresh.times, stamp, linked, weight)
    }

    /// What the remote tier stores; `None` when the value is too big.
    pub(crate) fn item(&self, fresh: &Fresh<V>, tags: &Tags, versions: Vec<u64>) -> Option<Item> {
        let now = Instant::now();
        let now_ms = unix_ms();
        let at = |instant: Instant| now_ms.saturating_add(millis(instant.saturating_duration_since(now)));
        let times = &fresh.times;
        let envelope = Envelope {
            version: fresh.version,
            created_ms: now_ms.saturating_sub(millis(now.saturating_duration_since(times.born))),
            soft_ms: at(times.soft),
            hard_ms: at(times.hard),
            load_us: u32::try_from(times.load.as_micros()).unwrap_or(u32::MAX),
            position: fresh.position,
            tags: tags.names().iter().cloned().zip(versions).collect(),
            schema: V::SCHEMA,
            content: fresh.value.as_ref().map_or(Content::Absent, |value| Content::Value(value.encode())),
        };
        let ttl = times.hard.saturating_duration_since(now).max(Duration::from_millis(1));
        let envelope = envelope.encode();
        if envelope.is_none() {
            self.oversized(fresh.value.as_ref().map_or(0, |value| value.weight()));
        }
        Some(Item { version: fresh.version, envelope: envelope?, ttl })
    }

    /// Whether a value is too big for any tier, by what it has in memory.
    pub(crate) fn is_oversized(&self, value: &V) -> bool {
        let weight = value.weight();
        if weight > MAX_VALUE {
            self.oversized(weight);
        }
        weight > MAX_VALUE
    }

    fn oversized(&self, weight: usize) {
        count(&self.counters().oversized);
        tracing::debug!(kind = V::KIND, weight, most = MAX_VALUE, "a value is too big to be cached");
    }
}

/// The tags of an entry, if they were noted.
fn known(lists: &[Arc<Tags>], own: &[&'static str]) -> Option<Arc<Tags>> {
    lists.iter().find(|tags| tags.are(own)).cloned()
}

/// A tombstone as an item, for who has a lease and nothing to store.
pub(crate) fn tombstone(version: u64, ttl: Duration) -> Item {
    let envelope = Envelope::tombstone(version).encode().unwrap_or_default();
    Item { version, envelope, ttl }
}

/// A time within 10 % of `ttl`.
fn jittered(ttl: Duration) -> Duration {
    ttl.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// The time of the wall clock, which the processes share: milliseconds of Unix time.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_1_times_differ_by_at_most_a_tenth() {
        let ttl = Duration::from_secs(60);
        let times: Vec<_> = (0..1_000).map(|_| jittered(ttl)).collect();
        assert!(times.iter().all(|time| (54_000..=66_000).contains(&time.as_millis())));
        assert!(times.iter().any(|time| time.as_millis() < 56_000));
        assert!(times.iter().any(|time| time.as_millis() > 64_000));
    }
}

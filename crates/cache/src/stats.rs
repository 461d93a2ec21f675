//! What has happened since the start, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::observer::{Miss, Observer, Tier};
use crate::remote::LinkState;

/// All caches of a process at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// The link to the remote tier; `None` when there is no such tier.
    pub link: Option<LinkState>,
    /// Whether changes by other processes are told, so that the local tier holds entries for longer than 1 s.
    pub tracking: bool,
    /// The last reason why the link was not up.
    pub problem: Option<String>,
    /// How often the link was lost after it had been up.
    pub outages: u64,
    /// How many invalidations wait for the remote tier.
    pub queued: usize,
    /// Each kind, in the order of their making.
    pub kinds: Vec<KindStats>,
}

/// One kind of things. A read is a local hit, a remote hit, a miss, or waited for one of these (`coalesced`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KindStats {
    /// What they are called.
    pub kind: String,
    /// Answers from the memory of this process.
    pub local_hits: u64,
    /// Answers from the remote tier.
    pub remote_hits: u64,
    /// Reads that no tier could answer, by reason.
    pub misses: BTreeMap<Miss, u64>,
    /// How often the source of truth was asked, refreshes included.
    pub loads: u64,
    /// How many of these have failed.
    pub failed_loads: u64,
    /// How long all of these took together.
    pub load_time: Duration,
    /// Reads that waited for what another one had begun.
    pub coalesced: u64,
    /// Answers that were past their time.
    pub stale: u64,
    /// Loads that began before an entry's time was over.
    pub refreshes: u64,
    /// "There is none" that were stored.
    pub negatives: u64,
    /// Values that were too big to be stored.
    pub oversized: u64,
    /// Loads that came too late to be stored: something newer is known.
    pub refused_fills: u64,
    /// Values that were written through.
    pub puts: u64,
    /// Keys that were invalidated by this process.
    pub invalidations: u64,
    /// Entries in memory, those that are not valid any more included.
    pub local_entries: u64,
    /// About how many bytes these have.
    pub local_bytes: u64,
    /// The greatest age of an answer from a tier.
    pub oldest_hit: Duration,
}

/// The counters of a kind; tells the observer, too.
#[derive(Debug)]
pub(crate) struct Counters {
    kind: &'static str,
    observer: Option<Arc<dyn Observer>>,
    local_hits: Striped,
    remote_hits: Striped,
    misses: [AtomicU64; Miss::ALL.len()],
    loads: AtomicU64,
    failed_loads: AtomicU64,
    load_us: AtomicU64,
    coalesced: AtomicU64,
    stale: AtomicU64,
    oldest_hit_us: AtomicU64,
    /// Loads ahead of time.
    pub(crate) refreshes: AtomicU64,
    /// "There is none" that were stored.
    pub(crate) negatives: AtomicU64,
    /// Too big to be stored.
    pub(crate) oversized: AtomicU64,
    /// Came too late.
    pub(crate) refused_fills: AtomicU64,
    /// Written through.
    pub(crate) puts: AtomicU64,
    /// Invalidated keys.
    pub(crate) invalidations: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into())
}

/// How many parts a [`Striped`] counter has.
const STRIPES: usize = 16;
/// How many threads have a stripe.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which stripe this thread counts in.
    static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

/// A counter of what happens in all threads at once: nearly no two write to the same line of a processor's cache.
#[derive(Debug, Default)]
struct Striped([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl Striped {
    fn count(&self) {
        let stripe = STRIPE.with(|stripe| *stripe);
        count(&self.0[stripe].0);
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

impl Counters {
    pub(crate) fn new(kind: &'static str, observer: Option<Arc<dyn Observer>>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            kind,
            observer,
            local_hits: Striped::default(),
            remote_hits: Striped::default(),
            misses: std::array::from_fn(|_| zero()),
            loads: zero(),
            failed_loads: zero(),
            load_us: zero(),
            coalesced: zero(),
            stale: zero(),
            oldest_hit_us: zero(),
            refreshes: zero(),
            negatives: zero(),
            oversized: zero(),
            refused_fills: zero(),
            puts: zero(),
            invalidations: zero(),
        }
    }

    pub(crate) fn hit(&self, tier: Tier, age: Duration) {
        match tier {
            Tier::Local => self.local_hits.count(),
            Tier::Remote => self.remote_hits.count(),
        }
        let age_us = micros(age);
        // Looked at first: nearly no hit is the oldest one, and a write would be shared by all threads.
        if age_us > self.oldest_hit_us.load(Ordering::Relaxed) {
            self.oldest_hit_us.fetch_max(age_us, Ordering::Relaxed);
        }
        if let Some(observer) = &self.observer {
            observer.hit(self.kind, tier, age);
        }
    }

    pub(crate) fn miss(&self, why: Miss) {
        for (counter, miss) in self.misses.iter().zip(Miss::ALL) {
            if miss == why {
                count(counter);
            }
        }
        if let Some(observer) = &self.observer {
            observer.miss(self.kind, why);
        }
    }

    pub(crate) fn load(&self, took: Duration, is_ok: bool) {
        count(&self.loads);
        if !is_ok {
            count(&self.failed_loads);
        }
        self.load_us.fetch_add(micros(took), Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer.load(self.kind, took, is_ok);
        }
    }

    pub(crate) fn stale(&self, age: Duration) {
        count(&self.stale);
        if let Some(observer) = &self.observer {
            observer.stale(self.kind, age);
        }
    }

    pub(crate) fn coalesced(&self) {
        count(&self.coalesced);
        if let Some(observer) = &self.observer {
            observer.coalesced(self.kind);
        }
    }

    /// How long a load takes on average.
    pub(crate) fn usual_load(&self) -> Duration {
        let loads = self.loads.load(Ordering::Relaxed).max(1);
        Duration::from_micros(self.load_us.load(Ordering::Relaxed) / loads)
    }

    pub(crate) fn read(&self, local_entries: u64, local_bytes: u64) -> KindStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let misses = Miss::ALL.into_iter().zip(self.misses.iter().map(of)).filter(|(_, count)| *count > 0);
        KindStats {
            kind: self.kind.to_owned(),
            local_hits: self.local_hits.sum(),
            remote_hits: self.remote_hits.sum(),
            misses: misses.collect(),
            loads: of(&self.loads),
            failed_loads: of(&self.failed_loads),
            load_time: Duration::from_micros(of(&self.load_us)),
            coalesced: of(&self.coalesced),
            stale: of(&self.stale),
            refreshes: of(&self.refreshes),
            negatives: of(&self.negatives),
            oversized: of(&self.oversized),
            refused_fills: of(&self.refused_fills),
            puts: of(&self.puts),
            invalidations: of(&self.invalidations),
            local_entries,
            local_bytes,
            oldest_hit: Duration::from_micros(of(&self.oldest_hit_us)),
        }
    }
}

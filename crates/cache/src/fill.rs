//! The way of one flight: the remote tier, the lease, the source of truth, and back into both tiers (CA-2, CA-4).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::flight::{Flight, Outcome, Source};
use crate::judge::{Judged, judge};
use crate::link::versions;
use crate::local::{Linked, Stamp, Tags, Ticket};
use crate::observer::{Miss, Tier};
use crate::position::{Position, Wanted};
use crate::remote::{Acquired, Lease, Remote, Stored};
use crate::stats::count;
use crate::typed::{Found, Fresh, TypedCache, tombstone};
use crate::value::{LoadError, Loaded, Value};

/// How long who has no lease waits for who has it.
const FOLLOW: Duration = Duration::from_millis(200);
/// The first pause between two looks, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));
/// For how long a tombstone holds back slow fillers.
const TOMBSTONE: Duration = Duration::from_mins(1);
/// A tombstone of so short a life only ends a lease.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For readers: what the remote tier has will do, if it is as fresh as wanted.
    Read(Wanted),
    /// For a reader with a token whom an earlier flight couldn't serve: only the source of truth will do.
    Load,
    /// For nobody: the entry's time is nearly over.
    Refresh,
}

impl Mode {
    fn wanted(self) -> Wanted {
        match self {
            Self::Read(wanted) => wanted,
            Self::Load | Self::Refresh => Wanted::Recent,
        }
    }

    /// Whether a stale value may stand in.
    fn may_be_stale(self) -> bool {
        matches!(self, Self::Read(Wanted::Recent) | Self::Refresh)
    }
}

/// One flight.
pub(crate) struct Fill<V, E, L> {
    pub(crate) cache: Arc<TypedCache<V, E>>,
    pub(crate) tags: Tags,
    /// The generations, and the link, of the time when the ticket was registered.
    pub(crate) stamp: Stamp,
    pub(crate) linked: Linked,
    pub(crate) mode: Mode,
    /// Why the local tier had nothing.
    pub(crate) miss: Miss,
    pub(crate) load: Arc<L>,
}

/// What the remote tier had to say.
enum Asked<V> {
    /// Something that may be answered.
    Hit(Fresh<V>),
    /// The source of truth must be asked.
    Load {
        miss: Miss,
        fill: Filling,
        /// What may stand in if it fails.
        stale: Option<Fresh<V>>,
        /// It stands in at once: who has the lease doesn't come to an end.
        is_late: bool,
    },
}

/// Where what is loaded goes.
enum Filling {
    /// Nowhere but to the readers: nobody would tell of changes.
    Nowhere,
    /// Into the local tier; there is no other one at the moment.
    Local,
    /// Into both, under a lease, with the versions of the tags of before the load.
    Both(Lease, Vec<u64>),
}

impl<V, E, L, F> Fill<V, E, L>
where
    V: Value,
    E: LoadError,
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
{
    /// Flies. The ticket is given back before this returns, so that nobody joins a flight that has ended.
    pub(crate) async fn run(self, ticket: Ticket<Arc<Flight<V, E>>>) -> Result<Outcome<V>, E> {
        let link = Arc::clone(self.cache.tiers.link());
        let asked = match (link.readable(), link.remote()) {
            (Some(remote), _) => self.ask(remote, ticket.key()).await,
            (None, Some(_)) => Asked::load(Miss::Bypassed, Filling::Local, None),
            (None, None) => Asked::load(self.miss, Filling::Local, None),
        };
        match asked {
            Asked::Hit(fresh) => Ok(self.hit(ticket, fresh)),
            Asked::Load { stale: Some(stale), is_late: true, .. } if is_usable(&stale, &self.stamp, &ticket) => {
                Ok(self.stale(stale.value, stale.times.born, stale.position))
            }
            Asked::Load { miss, fill, stale, .. } => {
                // A refresh misses nothing: its readers have an entry still.
                if self.mode != Mode::Refresh {
                    self.cache.counters().miss(miss);
                }
                self.fetch(ticket, fill, stale).await
            }
        }
    }

    /// Answers what the remote tier has, and keeps it here.
    fn hit(self, ticket: Ticket<Arc<Flight<V, E>>>, fresh: Fresh<V>) -> Outcome<V> {
        let age = Instant::now().saturating_duration_since(fresh.times.born);
        if self.mode != Mode::Refresh {
            self.cache.counters().hit(Tier::Remote, age);
        }
        let outcome = Outcome { value: fresh.value.clone(), position: fresh.position, source: Source::Remote };
        self.insert(ticket, fresh);
        outcome
    }

    fn stale(&self, value: Option<Arc<V>>, born: Instant, position: Option<Position>) -> Outcome<V> {
        if self.mode != Mode::Refresh {
            self.cache.counters().stale(Instant::now().saturating_duration_since(born));
        }
        Outcome { value, position, source: Source::Stale }
    }

    fn insert(self, ticket: Ticket<Arc<Flight<V, E>>>, fresh: Fresh<V>) {
        let entry = self.cache.entry(ticket.key(), fresh, self.stamp, self.linked);
        self.cache.local.finish(ticket, entry, || self.cache.tiers.link().is_tracking());
    }

    /// Asks the remote tier for the value, then for the lease.
    async fn ask(&self, remote: &dyn Remote, key: &str) -> Asked<V> {
        let mut miss = self.miss;
        let mut stale = None;
        let mut seen = None;
        if let Mode::Read(_) = self.mode {
            let asked = Instant::now();
            let Ok(stored) = remote.get(V::KIND, key).await else {
                return Asked::load(Miss::Bypassed, Filling::Nowhere, None);
            };
            match self.judge(remote, asked, stored.as_ref()).await {
                Judged::Valid(fresh) => return Asked::Hit(fresh),
                Judged::Miss { why, stale: candidate } => (miss, stale) = (why, candidate),
            }
            seen = stored;
        }
        let asked = Instant::now();
        let Ok(Acquired { lease, stored }) = remote.acquire(V::KIND, key).await else {
            return Asked::load(Miss::Bypassed, Filling::Nowhere, stale);
        };
        // Somebody may have filled it since; and a refresh that another process does is none of ours.
        let is_done_by_others = match self.mode {
            Mode::Read(_) => stored != seen,
            Mode::Refresh => lease.is_none(),
            Mode::Load => false,
        };
        if is_done_by_others && let Judged::Valid(fresh) = self.judge(remote, asked, stored.as_ref()).await {
            return Asked::Hit(fresh);
        }
        let Some(lease) = lease else {
            return match self.mode {
                Mode::Read(Wanted::Recent) => self.follow(remote, key, miss, stale).await,
                _ => Asked::load(miss, Filling::Nowhere, stale),
            };
        };
        // Read before the load begins: what is bumped from now on makes the entry invalid.
        match versions(remote, &self.tags).await {
            Ok(versions) => Asked::load(miss, Filling::Both(lease, versions), stale),
            Err(_) => Asked::load(miss, Filling::Nowhere, stale),
        }
    }

    /// Waits for who has the lease (CA-4).
    async fn follow(&self, remote: &dyn Remote, key: &str, miss: Miss, mut stale: Option<Fresh<V>>) -> Asked<V> {
        let until = Instant::now() + FOLLOW;
        let (mut pause, longest) = PAUSES;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64()).min(left)).await;
            pause = longest.min(pause * 2);
            let asked = Instant::now();
            let Ok(stored) = remote.get(V::KIND, key).await else {
                return Asked::load(Miss::Bypassed, Filling::Nowhere, stale);
            };
            match self.judge(remote, asked, stored.as_ref()).await {
                Judged::Valid(fresh) => return Asked::Hit(fresh),
                // What was replaced by a tombstone meanwhile must not stand in.
                Judged::Miss { stale: candidate, .. } => stale = candidate,
            }
        }
        Asked::Load { miss, fill: Filling::Nowhere, stale, is_late: true }
    }

    async fn judge(&self, remote: &dyn Remote, asked: Instant, stored: Option<&Stored>) -> Judged<V> {
        judge(&self.cache, remote, &self.tags, self.mode.wanted(), asked, stored).await
    }

    /// Asks the source of truth, and stores what it gave.
    async fn fetch(
        self,
        ticket: Ticket<Arc<Flight<V, E>>>,
        fill: Filling,
        stale: Option<Fresh<V>>,
    ) -> Result<Outcome<V>, E> {
        let found = match self.cache.load(&*self.load).await {
            Ok(found) => found,
            Err(error) if error.is_unavailable() => return self.stand_in(&ticket, stale).ok_or(error),
            Err(error) => return Err(error),
        };
        let Found { loaded, began, took } = found;
        let fresh = Fresh {
            times: self.cache.times(began, took, loaded.value.is_none()),
            value: loaded.value.map(Arc::new),
            version: loaded.version,
            position: loaded.position,
        };
        let outcome = Outcome { value: fresh.value.clone(), position: fresh.position, source: Source::Loaded };
        match fill {
            Filling::Both(lease, versions) => self.store(ticket, &lease, versions, fresh, loaded.keep).await,
            Filling::Local if self.is_kept(&fresh, loaded.keep).is_ok() => self.insert_counted(ticket, fresh),
            Filling::Local | Filling::Nowhere => {}
        }
        Ok(outcome)
    }

    /// Whether what was loaded may be stored; else for how long a tombstone takes its place.
    fn is_kept(&self, fresh: &Fresh<V>, keep: bool) -> Result<(), Duration> {
        if !keep {
            return Err(TOMBSTONE);
        }
        let is_kept = match &fresh.value {
            Some(value) => !self.cache.is_oversized(value),
            None => self.cache.may_store_negative(),
        };
        if is_kept { Ok(()) } else { Err(AT_ONCE) }
    }

    /// What may be answered though the source of truth fails (CA-8).
    fn stand_in(&self, ticket: &Ticket<Arc<Flight<V, E>>>, stale: Option<Fresh<V>>) -> Option<Outcome<V>> {
        if !self.mode.may_be_stale() {
            return None;
        }
        // Looked up now: an invalidation has removed what it made outdated.
        if let Some(entry) = self.cache.local.stale(ticket.key(), Instant::now()) {
            return Some(self.stale(entry.value.clone(), entry.times.born, entry.position));
        }
        let stale = stale.filter(|stale| is_usable(stale, &self.stamp, ticket))?;
        Some(self.stale(stale.value, stale.times.born, stale.position))
    }

    /// Stores what was loaded in the remote tier and here. What the remote tier refuses, or may have refused, isn't kept here.
    async fn store(
        self,
        ticket: Ticket<Arc<Flight<V, E>>>,
        lease: &Lease,
        versions: Vec<u64>,
        fresh: Fresh<V>,
        keep: bool,
    ) {
        let Some(remote) = self.cache.tiers.link().remote() else { return };
        let item = match self.is_kept(&fresh, keep) {
            Ok(()) => self.cache.item(&fresh, &self.tags, versions).ok_or(AT_ONCE),
            Err(ttl) => Err(ttl),
        };
        let is_stored = item.is_ok();
        // Without something to store, the lease is ended by a tombstone; else others would wait for 3 s.
        let item = item.unwrap_or_else(|ttl| tombstone(fresh.version, ttl));
        let filled = remote.fill(V::KIND, ticket.key(), lease, item).await;
        match filled {
            Ok(true) if is_stored => self.insert_counted(ticket, fresh),
            Ok(false) if is_stored => count(&self.cache.counters().refused_fills),
            Ok(_) => {}
            Err(error) => tracing::debug!(kind = V::KIND, %error, "a value could not be stored in the shared cache"),
        }
    }

    fn insert_counted(self, ticket: Ticket<Arc<Flight<V, E>>>, fresh: Fresh<V>) {
        if fresh.value.is_none() {
            count(&self.cache.counters().negatives);
        }
        self.insert(ticket, fresh);
    }
}

impl<V> Asked<V> {
    fn load(miss: Miss, fill: Filling, stale: Option<Fresh<V>>) -> Self {
        Self::Load { miss, fill, stale, is_late: false }
    }
}

/// Whether what lay in the remote tier may still stand in: nothing newer is known by now, and its time isn't over.
fn is_usable<V, F>(stale: &Fresh<V>, stamp: &Stamp, ticket: &Ticket<F>) -> bool {
    ticket.floor() <= stale.version && stamp.is_current() && Instant::now() < stale.times.hard
}

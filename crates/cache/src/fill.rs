//! The way of one flight: the remote tier, the lease, the source of truth, and back into both tiers (CA-2, CA-4).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::envelope::Envelope;
use crate::flight::{Flight, Landing, Mode, Outcome, Source};
use crate::judge::{Judged, Looked, judge, look};
use crate::kind::Kind as _;
use crate::link::versions;
use crate::local::{Linked, Stamp, Tags, Ticket};
use crate::observer::{Miss, Tier};
use crate::position::Wanted;
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

/// One flight.
pub(crate) struct Fill<V, E, L> {
    pub(crate) cache: Arc<TypedCache<V, E>>,
    pub(crate) lane: usize,
    pub(crate) tags: Arc<Tags>,
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
    /// Another process refreshes it.
    Others,
}

/// Where what is loaded goes.
enum Filling {
    /// Nowhere but to the readers.
    Nowhere,
    /// Into the local tier, as that link allows: the other one isn't there, or has not answered.
    Local(Linked),
    /// Into both.
    Both(Held),
}

/// What the remote tier gave before the load.
struct Held {
    lease: Lease,
    /// The versions of the tags.
    versions: Vec<u64>,
    /// The version that "there is none" gets: that of the tombstone that lies there, which refuses a lower one.
    absence: u64,
}

impl<V, E, L, F> Fill<V, E, L>
where
    V: Value,
    E: LoadError,
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
{
    /// The first step of a flight for readers: what lies in the remote tier. `None`: it isn't asked.
    pub(crate) async fn look(&self, key: &str) -> Option<Looked<V>> {
        let Mode::Read(wanted) = self.mode else { return None };
        let remote = self.cache.tiers.link().readable()?;
        if self.is_incomparable(key) {
            return None;
        }
        Some(look(&self.cache, remote, &self.tags, wanted, key).await)
    }

    /// Flies, from after the first step if that was done. The ticket is given back before this returns, so that nobody joins a
    /// flight that has ended. `None`: nobody has waited for what another process brings.
    pub(crate) async fn run(
        mut self,
        ticket: Ticket<Arc<Flight<V, E>>>,
        landing: &Landing<V, E>,
        looked: Option<Looked<V>>,
    ) -> Option<Result<Outcome<V>, E>> {
        let link = Arc::clone(self.cache.tiers.link());
        let asked = match (link.readable(), link.remote()) {
            _ if looked.is_none() && self.is_incomparable(ticket.key()) => Asked::past_the_tiers(),
            (Some(remote), _) => self.ask(remote, ticket.key(), looked).await,
            (None, Some(_)) => Asked::load(Miss::Bypassed, Filling::Local(self.linked), None),
            (None, None) => Asked::load(self.miss, Filling::Local(self.linked), None),
        };
        match asked {
            Asked::Hit(fresh) => Some(Ok(self.hit(ticket, fresh))),
            Asked::Load { stale: Some(stale), is_late: true, .. } if is_usable(&stale, &self.stamp, &ticket) => {
                Some(Ok(stale.stand_in()))
            }
            Asked::Load { miss, fill, stale, .. } => {
                // A refresh misses nothing: its readers have an entry still.
                if self.mode != Mode::Refresh {
                    self.cache.counters().miss(miss);
                }
                self.miss = miss;
                Some(self.fetch(ticket, landing, fill, stale).await)
            }
            // Who joins in this moment loads by itself.
            Asked::Others if !landing.has_readers() => None,
            Asked::Others => Some(self.fetch(ticket, landing, Filling::Nowhere, None).await),
        }
    }

    /// Whether something current is here already of which the reader's token, that of another history, tells nothing. It stays:
    /// with readers of both histories, each would replace what the other one has brought.
    fn is_incomparable(&self, key: &str) -> bool {
        let Some(asked) = self.mode.wanted().position() else { return false };
        let is_tracking = || self.cache.tiers.link().is_tracking();
        let current = self.cache.local.look(key, Wanted::Recent, Instant::now(), is_tracking);
        current.is_ok_and(|entry| entry.position.is_some_and(|position| position.history != asked.history))
    }

    /// Answers what the remote tier has, and keeps it here. The ticket is given back.
    pub(crate) fn hit(self, ticket: Ticket<Arc<Flight<V, E>>>, fresh: Fresh<V>) -> Outcome<V> {
        let age = Instant::now().saturating_duration_since(fresh.times.born);
        if self.mode != Mode::Refresh {
            self.cache.counters().hit(Tier::Remote, age);
        }
        let outcome = Outcome { value: fresh.value.clone(), position: fresh.position, source: Source::Remote };
        let linked = self.linked;
        self.insert(ticket, fresh, linked);
        outcome
    }

    fn insert(self, ticket: Ticket<Arc<Flight<V, E>>>, fresh: Fresh<V>, linked: Linked) {
        let entry = self.cache.entry(ticket.key(), fresh, self.stamp, linked);
        self.cache.local.finish(ticket, entry, || self.cache.tiers.link().is_tracking());
    }

    /// Asks the remote tier for the value, unless that was done, then for the lease.
    async fn ask(&self, remote: &dyn Remote, key: &str, looked: Option<Looked<V>>) -> Asked<V> {
        let mut miss = self.miss;
        let mut stale = None;
        let mut seen = None;
        if let Mode::Read(wanted) = self.mode {
            let looked = match looked {
                Some(looked) => looked,
                None => look(&self.cache, remote, &self.tags, wanted, key).await,
            };
            match looked {
                Err(_) => return self.unanswered(None),
                Ok((Judged::Valid(fresh), _)) => return Asked::Hit(fresh),
                Ok((Judged::Incomparable, _)) => return Asked::past_the_tiers(),
                Ok((Judged::Miss { why, stale: candidate }, stored)) => (miss, stale, seen) = (why, candidate, stored),
            }
        }
        let asked = Instant::now();
        let Ok(Acquired { lease, stored }) = remote.acquire(V::KIND, key).await else {
            return self.unanswered(stale);
        };
        // Somebody may have filled it since; and a refresh that another process does is none of ours.
        let is_another = match self.mode {
            Mode::Read(_) => stored != seen,
            Mode::Refresh => lease.is_none(),
            Mode::Load(_) => true,
        };
        if is_another {
            let answer = match self.judge(remote, asked, stored.as_ref()).await {
                // What is here serves one reader with a token, and not all who have joined.
                Judged::Valid(_) if matches!(self.mode, Mode::Load(_)) => None,
                Judged::Valid(fresh) => Some(Asked::Hit(fresh)),
                Judged::Incomparable => Some(Asked::past_the_tiers()),
                Judged::Miss { stale: candidate, .. } => {
                    stale = candidate;
                    None
                }
            };
            if let Some(answer) = answer {
                if let Some(lease) = &lease {
                    release::<V>(remote, key, lease).await;
                }
                return answer;
            }
        }
        let Some(lease) = lease else {
            return match self.mode {
                Mode::Read(Wanted::Recent) => self.follow(remote, key, miss, stale).await,
                Mode::Refresh => Asked::Others,
                Mode::Read(_) | Mode::Load(_) => Asked::load(miss, Filling::Nowhere, stale),
            };
        };
        // Read before the load begins: what is bumped from now on makes the entry invalid.
        let Ok(versions) = versions(remote, &self.tags).await else {
            release::<V>(remote, key, &lease).await;
            return self.unanswered(stale);
        };
        let absence = stored.and_then(|stored| Envelope::tombstone_version(&stored)).unwrap_or_default();
        Asked::load(miss, Filling::Both(Held { lease, versions, absence }), stale)
    }

    /// The remote tier has not answered: the source of truth must, though not to each read.
    fn unanswered(&self, stale: Option<Fresh<V>>) -> Asked<V> {
        Asked::load(Miss::Bypassed, Filling::Local(self.linked.untracked()), stale)
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
            let Ok(stored) = remote.get(V::KIND, key).await else { return self.unanswered(stale) };
            match self.judge(remote, asked, stored.as_ref()).await {
                Judged::Valid(fresh) => return Asked::Hit(fresh),
                Judged::Incomparable => return Asked::past_the_tiers(),
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
        landing: &Landing<V, E>,
        fill: Filling,
        stale: Option<Fresh<V>>,
    ) -> Result<Outcome<V>, E> {
        let found = match self.load(&ticket, landing, stale.as_ref()).await {
            Ok(found) => found,
            Err(error) => {
                if error.is_unavailable() {
                    self.stand_in(&ticket, landing, stale.as_ref());
                }
                if let (Filling::Both(held), Some(remote)) = (&fill, self.cache.tiers.link().remote()) {
                    release::<V>(&**remote, ticket.key(), &held.lease).await;
                }
                return Err(error);
            }
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
            Filling::Both(held) => self.store(ticket, held, fresh, loaded.keep).await,
            Filling::Local(linked) if self.is_kept(&fresh, loaded.keep).is_ok() => {
                self.insert_counted(ticket, fresh, linked);
            }
            Filling::Local(_) | Filling::Nowhere => self.outdate(&ticket, &fresh, loaded.keep),
        }
        Ok(outcome)
    }

    /// Asks the source of truth. While that takes long, a stale value stands in.
    async fn load(
        &self,
        ticket: &Ticket<Arc<Flight<V, E>>>,
        landing: &Landing<V, E>,
        stale: Option<&Fresh<V>>,
    ) -> Result<Found<V>, E> {
        let mut load = pin!(self.cache.load(self.lane, &*self.load));
        if let Ok(found) = timeout(self.cache.options.stale_after, load.as_mut()).await {
            return found;
        }
        self.stand_in(ticket, landing, stale);
        load.await
    }

    /// What was loaded isn't inserted: what it has shown to be outdated must not stand in later. The ticket is open still, so that
    /// nobody joins a flight that is detached by that.
    fn outdate(&self, ticket: &Ticket<Arc<Flight<V, E>>>, fresh: &Fresh<V>, keep: bool) {
        let (local, key) = (&self.cache.local, ticket.key());
        if keep && fresh.value.is_some() {
            local.invalidate(key, Some(fresh.version));
        } else if !keep || local.has_value(key) {
            local.invalidate(key, None);
        }
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

    /// Tells the readers what may be answered though the source of truth fails (CA-8), if there is something.
    fn stand_in(&self, ticket: &Ticket<Arc<Flight<V, E>>>, landing: &Landing<V, E>, stale: Option<&Fresh<V>>) {
        // What the remote tier has called outdated may lie here still, where its changes are told to nobody.
        let is_outdated = matches!(self.miss, Miss::Tombstone | Miss::Invalidated);
        // Looked up now: an invalidation has removed what it made outdated.
        let held = self.cache.local.stale(ticket.key(), Instant::now()).filter(|_| !is_outdated);
        if let Some(entry) = held {
            let source = Source::Stale { born: entry.times.born };
            landing.stand_in(Outcome { value: entry.value.clone(), position: entry.position, source });
        } else if let Some(stale) = stale.filter(|stale| is_usable(stale, &self.stamp, ticket)) {
            landing.stand_in(stale.stand_in());
        }
    }

    /// Stores what was loaded in the remote tier and here. What the remote tier refuses, or may have refused, isn't kept here.
    async fn store(self, ticket: Ticket<Arc<Flight<V, E>>>, held: Held, mut fresh: Fresh<V>, keep: bool) {
        let Some(remote) = self.cache.tiers.link().remote() else { return };
        let Held { lease, versions, absence } = held;
        let item = match self.is_kept(&fresh, keep) {
            Ok(()) => {
                if fresh.value.is_none() {
                    fresh.version = fresh.version.max(absence);
                }
                self.cache.item(&fresh, &self.tags, versions).ok_or(AT_ONCE)
            }
            Err(ttl) => Err(ttl),
        };
        let is_stored = item.is_ok();
        // Without something to store, the lease is ended by a tombstone; else others would wait for 3 s.
        let item = item.unwrap_or_else(|ttl| tombstone(fresh.version, ttl));
        let filled = remote.fill(V::KIND, ticket.key(), &lease, item).await;
        match filled {
            Ok(true) if is_stored => {
                let linked = self.linked;
                return self.insert_counted(ticket, fresh, linked);
            }
            Ok(false) if is_stored => count(&self.cache.counters().refused_fills),
            Ok(_) => {}
            Err(error) => tracing::debug!(kind = V::KIND, %error, "a value could not be stored in the shared cache"),
        }
        self.outdate(&ticket, &fresh, keep);
    }

    fn insert_counted(self, ticket: Ticket<Arc<Flight<V, E>>>, fresh: Fresh<V>, linked: Linked) {
        if fresh.value.is_none() {
            count(&self.cache.counters().negatives);
        }
        self.insert(ticket, fresh, linked);
    }
}

/// Gives a lease back, so that nobody waits for what doesn't come.
async fn release<V: Value>(remote: &dyn Remote, key: &str, lease: &Lease) {
    if let Err(error) = remote.release(V::KIND, key, lease).await {
        tracing::debug!(kind = V::KIND, %error, "a lease could not be given back; it ends by itself");
    }
}

impl<V> Asked<V> {
    fn load(miss: Miss, fill: Filling, stale: Option<Fresh<V>>) -> Self {
        Self::Load { miss, fill, stale, is_late: false }
    }

    /// What there is stays, and doesn't serve this reader.
    fn past_the_tiers() -> Self {
        Self::load(Miss::NotFresh, Filling::Nowhere, None)
    }
}

impl<V> Fresh<V> {
    /// It is answered though its time is over.
    fn stand_in(&self) -> Outcome<V> {
        let source = Source::Stale { born: self.times.born };
        Outcome { value: self.value.clone(), position: self.position, source }
    }
}

/// Whether what lay in the remote tier may still stand in: nothing newer is known by now, and its time isn't over.
fn is_usable<V, F>(stale: &Fresh<V>, stamp: &Stamp, ticket: &Ticket<F>) -> bool {
    ticket.floor() <= stale.version && stamp.is_current() && Instant::now() < stale.times.hard
}

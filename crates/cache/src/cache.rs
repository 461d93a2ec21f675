//! Reads and writes of one kind of things.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument as _;

use crate::fill::Fill;
use crate::flight::{Flight, Landing, Mode, Outcome, Source};
use crate::judge::{Judged, Looked};
use crate::kind::{Kind, MAX_KEY};
use crate::link::Put;
use crate::local::{Joined, Linked, Stamp, Tags, Ticket};
use crate::observer::{Miss, Tier};
use crate::options::CacheOptions;
use crate::position::Wanted;
use crate::stats::count;
use crate::tiers::Tiers;
use crate::typed::{Fresh, TypedCache};
use crate::value::{LoadError, Loaded, Value};

/// How many flights may break off under a reader before it loads by itself.
const TRIES: usize = 3;
/// How long a writer waits for the remote tier (CA-8). What takes longer goes on behind it, and costs the link when it fails.
const WRITER_PATIENCE: Duration = Duration::from_millis(20);

/// A cache of one kind of things in two tiers. Clones are the same cache.
pub struct Cache<V: Value, E: LoadError> {
    typed: Arc<TypedCache<V, E>>,
    /// In which lane it loads.
    lane: usize,
}

impl<V: Value, E: LoadError> Clone for Cache<V, E> {
    fn clone(&self) -> Self {
        Self { typed: Arc::clone(&self.typed), lane: self.lane }
    }
}

impl<V: Value, E: LoadError> fmt::Debug for Cache<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("kind", &V::KIND).field("options", &self.typed.options).finish_non_exhaustive()
    }
}

impl Tiers {
    /// The cache of a kind. There should be one per kind: a second one shares nothing with the first but the remote tier.
    pub fn cache<V: Value, E: LoadError>(&self, options: CacheOptions) -> Cache<V, E> {
        let typed = Arc::new(TypedCache::new(self.clone(), options));
        self.add(typed.local.clone());
        Cache { typed, lane: 0 }
    }
}

impl<V: Value, E: LoadError> Cache<V, E> {
    /// What is at a key: from a tier that is as fresh as `wanted`, else by `load`, once for all who ask meanwhile (CA-4). `None`:
    /// there is none.
    ///
    /// `load` asks the source of truth itself, never a replica of it, and takes the position before it does. It may be called
    /// twice, and runs on when the reader is cancelled. It is given up after [`CacheOptions::longest_load`].
    ///
    /// `tags` are the same at each read and write of a key.
    ///
    /// # Errors
    /// That of the load, which isn't cached. A reader of [`Wanted::Recent`] gets a stale value instead, if there is one within its
    /// bound and the error [is of a source that is away](LoadError::is_unavailable), or the load takes longer than
    /// [`CacheOptions::stale_after`] (CA-8).
    pub async fn read<L, F>(
        &self,
        key: &str,
        tags: &[&'static str],
        wanted: Wanted,
        load: L,
    ) -> Result<Option<Arc<V>>, E>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let now = Instant::now();
        match self.typed.local.look(key, wanted, now, || self.typed.tiers.link().is_tracking()) {
            Ok(entry) => {
                self.typed.counters().hit(Tier::Local, entry.age(now));
                if entry.wants_refresh(now) {
                    self.refresh(key, tags, load, now);
                }
                Ok(entry.value.clone())
            }
            // Boxed, so that a hit moves no more than it needs.
            Err(miss) => {
                let request = Request { key, tags, wanted, miss, load: Arc::new(load) };
                Box::pin(self.fetch(request, now)).await
            }
        }
    }

    /// Writes a value through, after it was committed at `version` (CA-8). Whatever is older is gone from both tiers then; should the
    /// remote one be away, it is told before anything is read from it again. Where that has nothing of the key, the value enters by
    /// its first load. What has no versions is invalidated, not put.
    pub async fn put(&self, key: &str, tags: &[&'static str], value: V, version: u64) {
        if key.len() > MAX_KEY {
            return;
        }
        let typed = &self.typed;
        count(&typed.counters().puts);
        let ticket = typed.local.begin(key);
        let tags = typed.tags(tags);
        let (stamp, linked) = (tags.stamp(), typed.linked());
        typed.local.invalidate(key, Some(version));
        let is_oversized = typed.is_oversized(&value);
        // Without a position: one that is taken now would cover what others have committed meanwhile.
        let times = typed.times(Instant::now(), typed.counters().usual_load(), false);
        let fresh = Fresh { value: Some(Arc::new(value)), version, position: None, times };
        let write = write_through(Arc::clone(typed), ticket, tags, (stamp, linked), fresh, is_oversized);
        typed.tiers.carry_out(write, Some(WRITER_PATIENCE)).await;
    }

    /// Invalidates what is older than `version` in both tiers, after that version was committed (CA-2); without a version, whatever
    /// is there. What has no versions is invalidated without one.
    pub async fn invalidate(&self, key: &str, version: Option<u64>) {
        let kind: Arc<dyn Kind> = self.typed.local.clone();
        self.typed.tiers.invalidate_in(&kind, key, version, Some(WRITER_PATIENCE)).await;
    }

    /// The same cache, which loads among the places of that lane, modulo their number; see [`CacheOptions::lanes`]. A key has
    /// always the same.
    #[must_use]
    pub fn lane(&self, lane: usize) -> Self {
        Self { typed: Arc::clone(&self.typed), lane }
    }

    /// The tiers that it shares with other kinds.
    pub fn tiers(&self) -> &Tiers {
        &self.typed.tiers
    }

    /// Answers what the local tier couldn't.
    async fn fetch<L, F>(&self, request: Request<'_, L>, now: Instant) -> Result<Option<Arc<V>>, E>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        if request.key.len() > MAX_KEY {
            self.typed.counters().miss(Miss::Uncacheable);
            return self.load(&*request.load).await;
        }
        let Some(first) = self.travel(&request, None, now).await else { return self.load(&*request.load).await };
        let outcome = first.landed?;
        if first.is_mine || serves(&outcome, request.wanted) {
            return Ok(outcome.value);
        }
        match self.travel(&request, Some(&first.flight), Instant::now()).await {
            Some(second) => Ok(second.landed?.value),
            None => self.load(&*request.load).await,
        }
    }

    /// Leads a flight to its end, or follows one. After a `first` one that hasn't served: one that asks the source of truth, and
    /// began after this reader came. `None`: they broke off.
    async fn travel<L, F>(
        &self,
        request: &Request<'_, L>,
        first: Option<&Arc<Flight<V, E>>>,
        mut now: Instant,
    ) -> Option<Answer<V, E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let wanted = request.wanted;
        let mode = if first.is_some() { Mode::Load(wanted) } else { Mode::Read(wanted) };
        let mut broken: Option<Arc<Flight<V, E>>> = None;
        for _ in 0..TRIES {
            let accepts = |flight: &Arc<Flight<V, E>>| {
                let is_fit = match first {
                    // Any other flight of the key that can be joined now began after this reader came.
                    Some(first) => flight.is_load && !Arc::ptr_eq(flight, first),
                    None => wanted != Wanted::Recent || flight.is_joinable(now),
                };
                is_fit && broken.as_ref().is_none_or(|broken| !Arc::ptr_eq(flight, broken))
            };
            let (flight, lead) = self.fly(request.key, matches!(mode, Mode::Load(_)), now, accepts);
            if let Some(lead) = lead {
                // Where a leader has left others behind, the next one takes no step in its own task.
                let landed = self.lead(request, mode, lead, &flight, broken.is_none()).await?;
                return Some(Answer { flight, is_mine: true, landed });
            }
            if let Some(landed) = self.land(&flight, wanted).await {
                self.typed.counters().coalesced();
                return Some(Answer { flight, is_mine: false, landed });
            }
            (broken, now) = (Some(flight), Instant::now());
        }
        None
    }

    /// Leads a flight. What the remote tier has is looked at in the reader's own task, if it may be; all that comes after is done in
    /// another, which goes on though the reader be cancelled.
    async fn lead<L, F>(
        &self,
        request: &Request<'_, L>,
        mode: Mode,
        lead: Lead<V, E>,
        flight: &Flight<V, E>,
        may_look: bool,
    ) -> Option<Result<Outcome<V>, E>>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let fill = self.fill(request.tags, mode, request.miss, &request.load);
        let looked = if may_look { fill.look(lead.ticket.key()).await } else { None };
        let looked = match looked {
            Some(Ok((Judged::Valid(fresh), _))) => {
                // Before its end is told, so that nobody joins a flight that has ended.
                let outcome = fill.hit(lead.ticket, fresh);
                lead.landing.end(Ok(outcome.clone()));
                return Some(Ok(outcome));
            }
            looked => looked,
        };
        launch(fill, lead, flight, looked);
        self.land(flight, request.wanted).await
    }

    /// Loads past the tiers: for keys that are too long, and when a flight broke off.
    async fn load<L, F>(&self, load: &L) -> Result<Option<Arc<V>>, E>
    where
        L: Fn() -> F + Send + Sync,
        F: Future<Output = Result<Loaded<V>, E>> + Send,
    {
        Ok(self.typed.load(self.lane, load).await?.loaded.value.map(Arc::new))
    }

    /// Waits for a flight, of oneself or of others.
    async fn land(&self, flight: &Flight<V, E>, wanted: Wanted) -> Option<Result<Outcome<V>, E>> {
        let may_be_stale = wanted == Wanted::Recent;
        let landed = flight.wait(may_be_stale).await;
        if let Some(Ok(Outcome { source: Source::Stale { born }, .. })) = &landed
            && may_be_stale
        {
            self.typed.counters().stale(Instant::now().saturating_duration_since(*born));
        }
        landed
    }

    /// Joins a flight, or begins one and leads it.
    fn fly(
        &self,
        key: &str,
        is_load: bool,
        now: Instant,
        accepts: impl FnOnce(&Arc<Flight<V, E>>) -> bool,
    ) -> Flown<V, E> {
        let mut landing = None;
        let begin = || {
            let (end, flight) = Flight::begin(is_load, now);
            landing = Some(end);
            flight
        };
        match self.typed.local.join(key, accepts, begin) {
            Joined::Follows(flight) => (flight, None),
            Joined::Leads(ticket, flight) => (flight, landing.map(|landing| Lead { ticket, landing })),
        }
    }

    /// The way of a flight whose ticket is registered.
    fn fill<L>(&self, tags: &[&'static str], mode: Mode, miss: Miss, load: &Arc<L>) -> Fill<V, E, L> {
        let tags = self.typed.tags(tags);
        let (stamp, linked) = (tags.stamp(), self.typed.linked());
        let (cache, load) = (Arc::clone(&self.typed), Arc::clone(load));
        Fill { cache, lane: self.lane, tags, stamp, linked, mode, miss, load }
    }

    /// Loads an entry anew whose time is nearly over, while readers still get it.
    fn refresh<L, F>(&self, key: &str, tags: &[&'static str], load: L, now: Instant)
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        if let (flight, Some(lead)) = self.fly(key, false, now, |_| true) {
            launch(self.fill(tags, Mode::Refresh, Miss::Expired, &Arc::new(load)), lead, &flight, None);
            count(&self.typed.counters().refreshes);
        }
    }
}

/// A read that the local tier couldn't answer.
struct Request<'a, L> {
    key: &'a str,
    tags: &'a [&'static str],
    wanted: Wanted,
    /// Why it couldn't.
    miss: Miss,
    load: Arc<L>,
}

/// A flight that this reader leads. Dropped, it gives the ticket back first, so that nobody joins a flight that broke off.
struct Lead<V, E> {
    ticket: Ticket<Arc<Flight<V, E>>>,
    landing: Landing<V, E>,
}

/// A flight that was joined, or begun and is to be led.
type Flown<V, E> = (Arc<Flight<V, E>>, Option<Lead<V, E>>);

/// What a flight has brought to a reader.
struct Answer<V, E> {
    flight: Arc<Flight<V, E>>,
    is_mine: bool,
    landed: Result<Outcome<V>, E>,
}

/// Lets a flight go on in a task of its own.
fn launch<V, E, L, F>(fill: Fill<V, E, L>, lead: Lead<V, E>, flight: &Flight<V, E>, looked: Option<Looked<V>>)
where
    V: Value,
    E: LoadError,
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
{
    flight.take_off();
    let Lead { ticket, landing } = lead;
    let on = async move {
        if let Some(outcome) = fill.run(ticket, &landing, looked).await {
            landing.end(outcome);
        }
    };
    tokio::spawn(on.in_current_span());
}

/// Whether the outcome of a flight that began before its reader came is as fresh as wanted.
fn serves<V>(outcome: &Outcome<V>, wanted: Wanted) -> bool {
    let Some(asked) = wanted.position() else { return true };
    !matches!(outcome.source, Source::Stale { .. }) && outcome.position.is_some_and(|position| position.covers(&asked))
}

/// Brings a value that was committed into the remote tier, then into the local one.
async fn write_through<V: Value, E: LoadError>(
    typed: Arc<TypedCache<V, E>>,
    ticket: Ticket<Arc<Flight<V, E>>>,
    tags: Arc<Tags>,
    (stamp, mut linked): (Stamp, Linked),
    fresh: Fresh<V>,
    is_oversized: bool,
) {
    let link = Arc::clone(typed.tiers.link());
    let item = |versions| if is_oversized { None } else { typed.item(&fresh, &tags, versions) };
    let put = link.put(V::KIND, ticket.key(), fresh.version, &tags, item).await;
    // Once more: who read the remote tier in between has what lay there before, and nobody tells us of our writes.
    typed.local.invalidate(ticket.key(), Some(fresh.version));
    match put {
        Put::Refused => return,
        Put::Owed => linked = linked.untracked(),
        Put::Stored => {}
    }
    if !is_oversized {
        let entry = typed.entry(ticket.key(), fresh, stamp, linked);
        typed.local.finish(ticket, entry, || link.is_tracking());
    }
}

//! Who is about to store something under a key: what makes insertions right in every order of fills and invalidations (CA-2).
//!
//! Before anything of a fill is read, a [`Ticket`] is registered. An invalidation raises the `floor` of all open tickets of its
//! key, removes the entry, and detaches the flight, so that later readers begin a new one. At the end a ticket inserts only what
//! is not below its floor. All of this happens under the lock of the key's shard.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::PoisonError;

use foldhash::quality::RandomState;

use super::sync::{Arc, AtomicU64, Mutex, Ordering};

/// How many locks there are.
const SHARDS: u64 = 64;

/// The open tickets of all keys, and per key the flight that readers may join.
pub(crate) struct Registrations<F> {
    shards: Vec<Mutex<Shard<F>>>,
    /// Chooses the shard; the shards hash by keys of their own, so that their places differ.
    hasher: RandomState,
    ids: AtomicU64,
}

type Shard<F> = HashMap<Arc<str>, Registered<F>, RandomState>;

/// What is registered for one key.
struct Registered<F> {
    tickets: Vec<Open>,
    /// The flight, and the number of its ticket.
    flight: Option<(u64, F)>,
}

/// An open ticket.
struct Open {
    id: u64,
    /// The lowest version that may be inserted.
    floor: u64,
}

/// The right to insert under a key. Dropped without [`finish`](Self::finish), it inserts nothing.
pub(crate) struct Ticket<F> {
    registrations: Arc<Registrations<F>>,
    key: Arc<str>,
    /// Where the key is.
    shard: usize,
    id: u64,
    is_open: bool,
}

/// What became of a reader that needs a flight.
pub(crate) enum Joined<F> {
    /// It waits for one that is under way.
    Follows(F),
    /// It has begun this one.
    Leads(Ticket<F>, F),
}

impl<F: Clone> Registrations<F> {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::new(HashMap::default())).collect();
        Arc::new(Self { shards, hasher: RandomState::default(), ids: AtomicU64::new(0) })
    }

    /// Registers an insertion that nobody waits for.
    pub(crate) fn begin(self: &Arc<Self>, key: &str) -> Ticket<F> {
        let ticket = self.ticket(key);
        self.with_shard(ticket.shard, |shard| {
            let registered = shard.entry(Arc::clone(&ticket.key)).or_insert_with(Registered::nothing);
            registered.tickets.push(Open { id: ticket.id, floor: 0 });
        });
        ticket
    }

    /// Joins the flight of a key if there is one that `accepts`, else begins the one that `make` gives, which later readers join.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &str,
        accepts: impl FnOnce(&F) -> bool,
        make: impl FnOnce() -> F,
    ) -> Joined<F> {
        // Opened at the end only: dropping it inside would lock again.
        let mut ticket = self.ticket(key);
        ticket.is_open = false;
        let (joined, replaced) = self.with_shard(ticket.shard, |shard| {
            let registered = shard.entry(Arc::clone(&ticket.key)).or_insert_with(Registered::nothing);
            if let Some((_, flight)) = &registered.flight
                && accepts(flight)
            {
                return (Err(flight.clone()), None);
            }
            let flight = make();
            registered.tickets.push(Open { id: ticket.id, floor: 0 });
            let replaced = registered.flight.replace((ticket.id, flight.clone()));
            (Ok(flight), replaced)
        });
        // What it holds is dropped outside of the lock.
        drop(replaced);
        match joined {
            Err(flight) => Joined::Follows(flight),
            Ok(flight) => {
                ticket.is_open = true;
                Joined::Leads(ticket, flight)
            }
        }
    }

    /// Makes sure that nothing older than `version` is inserted by who has begun already; without a version: nothing at all.
    /// `remove` removes the entry, if it is older, under the same lock.
    pub(crate) fn invalidate(&self, key: &str, version: Option<u64>, remove: impl FnOnce()) {
        let detached = self.with_shard(self.shard(key), |shard| {
            remove();
            let registered = shard.get_mut(key)?;
            for ticket in &mut registered.tickets {
                ticket.floor = ticket.floor.max(version.unwrap_or(u64::MAX));
            }
            registered.flight.take()
        });
        drop(detached);
    }

    /// How many keys have something registered.
    #[cfg(test)]
    pub(crate) fn open_keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn ticket(self: &Arc<Self>, key: &str) -> Ticket<F> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Ticket { registrations: Arc::clone(self), key: key.into(), shard: self.shard(key), id, is_open: true }
    }
}

impl<F> Registrations<F> {
    fn shard(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS).unwrap_or_default()
    }

    fn with_shard<R>(&self, shard: usize, work: impl FnOnce(&mut Shard<F>) -> R) -> R {
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut shard)
    }
}

impl<F> Registered<F> {
    fn nothing() -> Self {
        Self { tickets: Vec::new(), flight: None }
    }
}

impl<F> Ticket<F> {
    /// What it is for.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// The lowest version that may be inserted, as of now.
    pub(crate) fn floor(&self) -> u64 {
        let open =
            |registered: &Registered<F>| registered.tickets.iter().find(|open| open.id == self.id).map(|o| o.floor);
        self.registrations.with_shard(self.shard, |shard| shard.get(&self.key).and_then(open)).unwrap_or(u64::MAX)
    }

    /// Ends the registration, and calls `insert` under the key's lock if the version isn't below the floor. Returns whether it has.
    pub(crate) fn finish(mut self, version: u64, insert: impl FnOnce()) -> bool {
        self.is_open = false;
        let (is_fit, flight) = self.registrations.with_shard(self.shard, |shard| {
            let (floor, flight) = release(shard, &self.key, self.id);
            let is_fit = floor.is_some_and(|floor| floor <= version);
            if is_fit {
                insert();
            }
            (is_fit, flight)
        });
        drop(flight);
        is_fit
    }
}

impl<F> Drop for Ticket<F> {
    fn drop(&mut self) {
        if self.is_open {
            drop(self.registrations.with_shard(self.shard, |shard| release(shard, &self.key, self.id)));
        }
    }
}

/// Takes a ticket out, and its flight if readers could still join it. Returns the ticket's floor.
fn release<F>(shard: &mut Shard<F>, key: &str, id: u64) -> (Option<u64>, Option<F>) {
    let Some(registered) = shard.get_mut(key) else { return (None, None) };
    let at = registered.tickets.iter().position(|open| open.id == id);
    let floor = at.map(|at| registered.tickets.swap_remove(at).floor);
    let flight = registered.flight.take_if(|(of, _)| *of == id).map(|(_, flight)| flight);
    if registered.tickets.is_empty() && registered.flight.is_none() {
        shard.remove(key);
    }
    (floor, flight)
}

//! Whether one more connection is admitted: by what its address has, and by the places that there are.
//!
//! When all places are taken, an idle connection gives way: the one that had no call for longest, of the network that has the most
//! connections. It is closed in order, and its place goes to who is new at once. So keeping connections open keeps nobody out.
//! None gives way to a network that has as many itself, but one of its own: who opens many is in nobody else's way either.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::calls::OpenCalls;
use super::observer::RefusedConnection;
use crate::server::budget::{Account, Budgets, Caller, CallerLimits, Hold, Resource, Scope};
use crate::server::peer::Network;

/// How long a connection has had no call before it gives way to another.
const IDLE: Duration = Duration::from_secs(5);

/// How long it is before idle connections are looked for again: all that are open have to be looked at for it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many connections may be on their way out beside those that have places.
const LEAVING: usize = 128;

/// What admits the connections of a server.
#[derive(Debug)]
pub(in crate::server) struct Admission {
    budgets: Budgets,
    places: Arc<Semaphore>,
    leaving: Arc<Semaphore>,
    networks: Arc<NetworkPlaces>,
    open: Mutex<OpenConnections>,
}

/// A place of a connection, and that it counts.
#[derive(Debug)]
struct Place {
    permit: OwnedSemaphorePermit,
    _hold: Hold,
    _of_network: NetworkPlace,
}

type Counts = HashMap<Option<Network>, usize, RandomState>;

/// How many places each network has, also for connections that are not open yet.
#[derive(Debug, Default)]
struct NetworkPlaces(Mutex<Counts>);

/// That a place is a network's.
#[derive(Debug)]
struct NetworkPlace {
    of: Arc<NetworkPlaces>,
    network: Option<Network>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    connections: HashMap<u64, OpenConnection, RandomState>,
    /// Those that give way, and are not gone yet.
    leaving: HashMap<u64, OwnedSemaphorePermit, RandomState>,
    /// Those that were idle when they were looked for, as far as they have not given way since. The last one is the first to go.
    idle: Vec<IdleConnection>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct IdleConnection {
    id: u64,
    network: Option<Network>,
    since: Instant,
    /// How many places its network has when its turn comes.
    of_network: usize,
}

#[derive(Debug)]
struct OpenConnection {
    network: Option<Network>,
    calls: Arc<OpenCalls>,
    gives_way: CancellationToken,
    place: Place,
}

impl Admission {
    /// As many connections as `budgets` allow in all. What addresses have of their own comes beside that: then there is no number
    /// of places, the budgets alone decide, and none gives way.
    pub(in crate::server) fn new(budgets: Budgets) -> Arc<Self> {
        let CallerLimits { total, own, .. } = budgets.limits().get(Resource::Connections);
        let is_bounded = total > 0 && own == 0;
        let most = if is_bounded { total.min(Semaphore::MAX_PERMITS) } else { Semaphore::MAX_PERMITS };
        Self::with_places(budgets, most, LEAVING)
    }

    /// So many connections at once, and so many more on their way out; 0: none gives way.
    pub(in crate::server) fn with_places(budgets: Budgets, places: usize, leaving: usize) -> Arc<Self> {
        let (places, leaving) = (Arc::new(Semaphore::new(places)), Arc::new(Semaphore::new(leaving)));
        Arc::new(Self { budgets, places, leaving, networks: Arc::default(), open: Mutex::default() })
    }

    /// Admits a connection of a network.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn admit(self: &Arc<Self>, network: Option<Network>) -> Result<Admitted, RefusedConnection> {
        let account = network.map(|network| self.budgets.account_of_address(network));
        let take = || {
            let caller = Caller { address: account.as_ref(), principal: None };
            self.budgets.take(Resource::Connections, 1, caller).map_err(|exceeded| match exceeded.scope {
                Scope::Server => RefusedConnection::TooMany,
                _ => RefusedConnection::TooManyOfAddress,
            })
        };
        // Nobody gives way to a connection that is refused all the same.
        if account.as_ref().is_some_and(|account| self.budgets.is_address_full(Resource::Connections, account)) {
            take()?;
        }
        let free = Arc::clone(&self.places).try_acquire_owned().ok();
        let permit = free.or_else(|| self.make_room(network)).ok_or_else(|| self.no_place())?;
        let place = Place { permit, _hold: take()?, _of_network: self.networks.add(network) };
        Ok(Admitted { admission: Arc::clone(self), account, network, place })
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        // A panic can't leave the maps half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All places are taken. That counts as refused, as it does where a budget says so.
    fn no_place(&self) -> RefusedConnection {
        let most = self.budgets.limits().get(Resource::Connections).total;
        let _ = self.budgets.refuse(Resource::Connections, Scope::Server, most);
        RefusedConnection::TooMany
    }

    /// The place of an idle connection, which goes for one of `newcomer`.
    fn make_room(&self, newcomer: Option<Network>) -> Option<OwnedSemaphorePermit> {
        let leaving = Arc::clone(&self.leaving).try_acquire_owned().ok()?;
        let mut open = self.lock();
        let id = open.first_to_go(newcomer, &self.networks, Instant::now())?;
        let OpenConnection { gives_way, place, .. } = open.connections.remove(&id)?;
        open.leaving.insert(id, leaving);
        drop(open);
        gives_way.cancel();
        tracing::debug!("an idle connection gave way to a new one");
        Some(place.permit)
    }
}

impl NetworkPlaces {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic can't leave a count half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, network: Option<Network>) -> NetworkPlace {
        *self.lock().entry(network).or_default() += 1;
        NetworkPlace { of: Arc::clone(self), network }
    }

    fn count(&self, network: Option<Network>) -> usize {
        self.lock().get(&network).copied().unwrap_or(0)
    }
}

impl Drop for NetworkPlace {
    fn drop(&mut self) {
        let mut counts = self.of.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

impl OpenConnection {
    /// Since when it has had no call, if that is long enough.
    fn idle_since(&self, now: Instant) -> Option<Instant> {
        self.calls.idle_since().filter(|since| *since + IDLE <= now)
    }
}

impl OpenConnections {
    fn insert(&mut self, connection: OpenConnection) -> u64 {
        let id = self.next;
        self.next += 1;
        self.connections.insert(id, connection);
        id
    }

    /// The idle connection that goes for one of `newcomer`: of that network itself, or of one that has more places.
    fn first_to_go(&mut self, newcomer: Option<Network>, networks: &NetworkPlaces, now: Instant) -> Option<u64> {
        if self.looked.is_none_or(|looked| looked + LOOK_EVERY <= now) {
            self.look(networks, now);
        }
        let own = networks.count(newcomer);
        let goes = |idle: &IdleConnection| {
            let may = idle.network == newcomer || idle.of_network > own;
            may && self.connections.get(&idle.id).is_some_and(|open| open.idle_since(now).is_some())
        };
        let place = self.idle.iter().rposition(goes)?;
        Some(self.idle.remove(place).id)
    }

    /// Looks for those that are idle, and orders them by how they go: the longest idle of the network that has the most then.
    fn look(&mut self, networks: &NetworkPlaces, now: Instant) {
        let mut left = networks.lock().clone();
        let idle = self.connections.iter().filter_map(|(id, open)| {
            let since = open.idle_since(now)?;
            Some(IdleConnection { id: *id, network: open.network, since, of_network: 0 })
        });
        let mut idle: Vec<_> = idle.collect();
        idle.sort_unstable_by_key(|idle| (idle.since, idle.id));
        for idle in &mut idle {
            let left = left.entry(idle.network).or_default();
            idle.of_network = *left;
            *left = left.saturating_sub(1);
        }
        idle.sort_unstable_by_key(|idle| (idle.of_network, Reverse((idle.since, idle.id))));
        (self.idle, self.looked) = (idle, Some(now));
    }
}

/// A connection that was admitted, and is not open yet.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    /// What its address has of the budgets.
    pub account: Option<Account>,
    network: Option<Network>,
    place: Place,
}

impl Admitted {
    /// It is open from now on: while it has none of `calls`, it may have to give way.
    pub(super) fn open(self, calls: Arc<OpenCalls>) -> OpenPlace {
        let Self { admission, network, place, .. } = self;
        let gives_way = CancellationToken::new();
        let id = admission.lock().insert(OpenConnection { network, calls, gives_way: gives_way.clone(), place });
        OpenPlace { admission, id, gives_way }
    }
}

/// The place of an open connection; dropped, it is free.
#[derive(Debug)]
pub(super) struct OpenPlace {
    admission: Arc<Admission>,
    id: u64,
    /// Cancelled when the connection has to go, in order.
    pub gives_way: CancellationToken,
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        let freed = (open.connections.remove(&self.id), open.leaving.remove(&self.id));
        drop(open);
        drop(freed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;
    use crate::server::budget::Limits;

    fn admission(most: usize, per_address: usize, leaving: usize) -> Arc<Admission> {
        let limits = CallerLimits { total: most, per_address, ..CallerLimits::default() };
        let budgets = Budgets::new(Limits::default().with(Resource::Connections, limits));
        Admission::with_places(budgets, most, leaving)
    }

    fn from(last: u8) -> Option<Network> {
        Some(Network::of(IpAddr::from([10, 0, 0, last])))
    }

    fn open(admission: &Arc<Admission>, last: u8) -> (OpenPlace, Arc<OpenCalls>) {
        let calls = OpenCalls::new();
        (admission.admit(from(last)).unwrap().open(Arc::clone(&calls)), calls)
    }

    fn goes(open: &(OpenPlace, Arc<OpenCalls>)) -> bool {
        open.0.gives_way.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_of_the_network_with_the_most_gives_way_and_none_that_is_busy() {
        let admission = admission(4, 0, 8);
        let (other, first) = (open(&admission, 2), open(&admission, 1));
        advance(Duration::from_millis(1)).await;
        let second = open(&admission, 1);
        advance(Duration::from_millis(1)).await;
        let of_most = [first, second, open(&admission, 1)];
        let call = of_most[0].1.begin();
        assert_eq!(admission.admit(from(3)).unwrap_err(), RefusedConnection::TooMany);
        advance(IDLE).await;
        let fourth = open(&admission, 3);
        assert!(goes(&of_most[1]) && !goes(&of_most[0]) && !goes(&of_most[2]) && !goes(&other));
        // It is not gone yet, and doesn't count any more.
        assert_eq!(admission.budgets.in_use(Resource::Connections), 4);
        let fifth = open(&admission, 3);
        assert!(goes(&of_most[2]) && !goes(&other));
        let sixth = open(&admission, 4);
        assert!(goes(&other));
        // Nobody else is idle.
        assert_eq!(admission.admit(from(5)).unwrap_err(), RefusedConnection::TooMany);
        assert_eq!(admission.budgets.refused(Resource::Connections), 2);
        drop(call);
        advance(IDLE).await;
        assert!(!goes(&fourth) && !goes(&fifth));
        drop((of_most, other, fourth, fifth, sixth));
        assert_eq!(admission.budgets.in_use(Resource::Connections), 0);
        assert_eq!((admission.places.available_permits(), admission.leaving.available_permits()), (4, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn none_gives_way_to_a_network_that_has_as_many_but_one_of_its_own() {
        let admission = admission(3, 0, 8);
        let (victim, own, busy) = (open(&admission, 1), open(&admission, 2), open(&admission, 2));
        let _call = busy.1.begin();
        advance(IDLE).await;
        let next = open(&admission, 2);
        assert!(goes(&own) && !goes(&victim));
        assert_eq!(admission.admit(from(2)).unwrap_err(), RefusedConnection::TooMany);
        assert!(!goes(&victim) && !goes(&next));
        let _less = open(&admission, 3);
        assert!(goes(&victim));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_said_nothing_yet_is_one_of_its_network() {
        let admission = admission(2, 0, 8);
        let all = [open(&admission, 1), open(&admission, 2)];
        advance(IDLE).await;
        let silent = admission.admit(from(3)).unwrap();
        assert_eq!(admission.admit(from(3)).unwrap_err(), RefusedConnection::TooMany);
        assert!(goes(&all[0]) && !goes(&all[1]));
        drop(silent);
        assert_eq!(admission.networks.count(from(3)), 0);
    }

    #[test]
    fn what_an_address_has_of_its_own_needs_no_place() {
        let limits = CallerLimits { total: 1, own: 1, ..CallerLimits::default() };
        let admission = Admission::new(Budgets::new(Limits::default().with(Resource::Connections, limits)));
        let _own: Vec<_> = (1..=3).map(|last| admission.admit(from(last)).unwrap()).collect();
        let _shared = admission.admit(from(1)).unwrap();
        assert_eq!(admission.admit(from(2)).unwrap_err(), RefusedConnection::TooMany);
    }

    #[tokio::test(start_paused = true)]
    async fn who_calls_again_after_it_was_found_idle_stays() {
        let admission = admission(2, 0, 8);
        let all = [open(&admission, 1), open(&admission, 1)];
        advance(IDLE).await;
        let _first = open(&admission, 2);
        assert!(goes(&all[0]));
        let _call = all[1].1.begin();
        assert_eq!(admission.admit(from(3)).unwrap_err(), RefusedConnection::TooMany);
        assert!(!goes(&all[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_has_as_many_as_it_may_have_takes_no_place_of_others() {
        let admission = admission(3, 2, 8);
        let all = [open(&admission, 1), open(&admission, 1), open(&admission, 2)];
        advance(IDLE).await;
        assert_eq!(admission.admit(from(1)).unwrap_err(), RefusedConnection::TooManyOfAddress);
        assert!(!all.iter().any(goes));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_on_their_way_out_than_may_be() {
        let admission = admission(2, 0, 1);
        let first = open(&admission, 1);
        advance(Duration::from_millis(1)).await;
        let _second = open(&admission, 1);
        advance(IDLE).await;
        let _third = open(&admission, 2);
        assert!(goes(&first));
        assert_eq!(admission.admit(from(2)).unwrap_err(), RefusedConnection::TooMany);
        drop(first);
        let _fourth = open(&admission, 3);
    }

    proptest! {
        #[test]
        fn whatever_happens_the_bounds_hold_and_all_is_given_back(
            steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), 0..4), 1..200)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let admission = admission(5, 3, 2);
                let (mut there, mut calls) = (Vec::new(), Vec::new());
                for (last, which, step) in steps {
                    match step {
                        0 if !there.is_empty() => drop(there.swap_remove(which.index(there.len()))),
                        1 if !there.is_empty() => {
                            let (_, open): &(OpenPlace, Arc<OpenCalls>) = &there[which.index(there.len())];
                            calls.push(open.begin());
                        }
                        2 => {
                            calls.pop();
                            advance(IDLE / 2).await;
                        }
                        _ => {
                            let calls = OpenCalls::new();
                            let admitted = admission.admit(from(last));
                            there.extend(admitted.map(|admitted| (admitted.open(Arc::clone(&calls)), calls)).ok());
                        }
                    }
                    let staying = there.iter().filter(|open| !goes(open)).count();
                    assert!(staying <= 5 && there.len() <= staying + 2);
                    assert_eq!(admission.budgets.in_use(Resource::Connections), staying);
                }
                drop(there);
                let open = admission.lock();
                assert!(open.connections.is_empty() && open.leaving.is_empty() && admission.networks.lock().is_empty());
                assert_eq!((admission.places.available_permits(), admission.leaving.available_permits()), (5, 2));
            });
        }
    }
}

//! Whether one more connection is admitted: by what its address has, and by the places that there are.
//!
//! When all places are taken, an idle connection gives way: the one that had no call for longest, of the network that has the most
//! connections. It is closed in order, and its place goes to who is new at once. So keeping connections open keeps nobody out.

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
use crate::server::budget::{Account, Budgets, Caller, Hold, Resource, Scope};
use crate::server::peer::Network;

/// How long a connection has had no call before it gives way to another.
const IDLE: Duration = Duration::from_secs(5);

/// How many connections may be on their way out beside those that have places.
const LEAVING: usize = 128;

/// What admits the connections of a server.
#[derive(Debug)]
pub(in crate::server) struct Admission {
    budgets: Budgets,
    places: Arc<Semaphore>,
    leaving: Arc<Semaphore>,
    open: Mutex<OpenConnections>,
}

/// A place of a connection, and that it counts.
#[derive(Debug)]
struct Place {
    permit: OwnedSemaphorePermit,
    _hold: Hold,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    connections: HashMap<u64, OpenConnection, RandomState>,
    counts: HashMap<Option<Network>, usize, RandomState>,
    /// Those that give way, and are not gone yet.
    leaving: HashMap<u64, OwnedSemaphorePermit, RandomState>,
    /// Before that, none has been idle for long enough.
    none_before: Option<Instant>,
}

#[derive(Debug)]
struct OpenConnection {
    network: Option<Network>,
    calls: Arc<OpenCalls>,
    gives_way: CancellationToken,
    place: Place,
}

impl Admission {
    /// As many connections as `budgets` allow in all.
    pub(in crate::server) fn new(budgets: Budgets) -> Arc<Self> {
        let most = match budgets.limits().get(Resource::Connections).total {
            0 => Semaphore::MAX_PERMITS,
            most => most.min(Semaphore::MAX_PERMITS),
        };
        Self::with_places(budgets, most, LEAVING)
    }

    /// So many connections at once, and so many more on their way out; 0: none gives way.
    pub(in crate::server) fn with_places(budgets: Budgets, places: usize, leaving: usize) -> Arc<Self> {
        let (places, leaving) = (Arc::new(Semaphore::new(places)), Arc::new(Semaphore::new(leaving)));
        Arc::new(Self { budgets, places, leaving, open: Mutex::default() })
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
        let permit = free.or_else(|| self.make_room()).ok_or(RefusedConnection::TooMany)?;
        let place = Place { permit, _hold: take()? };
        Ok(Admitted { admission: Arc::clone(self), account, network, place })
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        // A panic can't leave the maps half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of an idle connection, which goes.
    fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        let leaving = Arc::clone(&self.leaving).try_acquire_owned().ok()?;
        let mut open = self.lock();
        let id = open.longest_idle(Instant::now())?;
        let OpenConnection { gives_way, place, .. } = open.remove(id)?;
        open.leaving.insert(id, leaving);
        drop(open);
        gives_way.cancel();
        tracing::debug!("an idle connection gave way to a new one");
        Some(place.permit)
    }
}

impl OpenConnections {
    fn insert(&mut self, connection: OpenConnection) -> u64 {
        let id = self.next;
        self.next += 1;
        *self.counts.entry(connection.network).or_default() += 1;
        self.connections.insert(id, connection);
        id
    }

    fn remove(&mut self, id: u64) -> Option<OpenConnection> {
        let removed = self.connections.remove(&id)?;
        if let Some(count) = self.counts.get_mut(&removed.network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&removed.network);
            }
        }
        Some(removed)
    }

    /// The connection that is to give way. Who finds none is not looked for again before there may be one.
    fn longest_idle(&mut self, now: Instant) -> Option<u64> {
        if self.none_before.is_some_and(|before| now < before) {
            return None;
        }
        let idle = self.connections.iter().filter_map(|(id, open)| Some((*id, open, open.calls.idle_since()?)));
        let mut first = now + IDLE;
        let found = idle
            .inspect(|(_, _, since)| first = first.min(*since + IDLE))
            .filter(|(_, _, since)| *since + IDLE <= now)
            .max_by_key(|(_, open, since)| (self.counts.get(&open.network).copied().unwrap_or(0), Reverse(*since)))
            .map(|(id, ..)| id);
        self.none_before = found.is_none().then_some(first);
        found
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
        let freed = (open.remove(self.id), open.leaving.remove(&self.id));
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
    use crate::server::budget::{CallerLimits, Limits};

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
        let sixth = open(&admission, 3);
        assert!(goes(&other));
        // Nobody else is idle.
        assert_eq!(admission.admit(from(4)).unwrap_err(), RefusedConnection::TooMany);
        drop(call);
        advance(IDLE).await;
        assert!(!goes(&fourth) && !goes(&fifth));
        drop((of_most, other, fourth, fifth, sixth));
        assert_eq!(admission.budgets.in_use(Resource::Connections), 0);
        assert_eq!((admission.places.available_permits(), admission.leaving.available_permits()), (4, 8));
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
        let _fourth = open(&admission, 2);
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
                assert!(open.connections.is_empty() && open.counts.is_empty() && open.leaving.is_empty());
                assert_eq!((admission.places.available_permits(), admission.leaving.available_permits()), (5, 2));
            });
        }
    }
}

//! Connections that give way when there are too many: the oldest of the network that has the most.
//!
//! So whoever fills all places is in the way of nobody else, and nobody has more than a network may have.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio_util::sync::CancellationToken;

use crate::server::peer::Network;

/// Places for connections, of which each is taken for some time.
#[derive(Debug)]
pub(in crate::server) struct Register {
    max: usize,
    per_address: usize,
    places: Mutex<Places>,
}

/// The places of one network, by their age.
type OfNetwork = BTreeMap<u64, CancellationToken>;

/// How many places a network has, and how old its oldest is.
type Rank = (usize, Reverse<u64>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    len: usize,
    evicted: u64,
    networks: HashMap<Option<Network>, OfNetwork, RandomState>,
    /// The last one has the most, and among such as have as many the oldest.
    ranks: BTreeMap<Rank, Option<Network>>,
}

impl Register {
    /// At most `max` places, one at least, and at most `per_address` of one network; 0: as many as there are. Peers
    /// without an address count as one network that has no bound of its own.
    pub(in crate::server) fn new(max: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), per_address, places: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // A panic can't leave the maps half changed.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. With one too many of the network the oldest of it gives way, with one too many in all the oldest
    /// of the network that has the most.
    pub(in crate::server) fn begin(self: &Arc<Self>, network: Option<Network>) -> Registered {
        let evicted = CancellationToken::new();
        let mut places = self.lock();
        let id = places.insert(network, evicted.clone());
        let is_bounded = network.is_some() && self.per_address > 0;
        let other = if is_bounded && places.count(network) > self.per_address {
            places.evict(network)
        } else if places.len > self.max {
            places.largest().and_then(|network| places.evict(network))
        } else {
            None
        };
        drop(places);
        if let Some(other) = other {
            other.cancel();
            tracing::debug!(open = self.len(), in_all = self.evicted(), "a connection gave way to a newer one");
        }
        Registered { of: Arc::clone(self), network, id, evicted }
    }

    /// How many places are taken.
    pub(in crate::server) fn len(&self) -> usize {
        self.lock().len
    }

    /// How many had to give way so far.
    pub(in crate::server) fn evicted(&self) -> u64 {
        self.lock().evicted
    }
}

impl Places {
    fn insert(&mut self, network: Option<Network>, evicted: CancellationToken) -> u64 {
        let id = self.next;
        self.next += 1;
        self.len += 1;
        self.change(network, |places| places.insert(id, evicted));
        id
    }

    /// `None` when it is not there any more.
    fn remove(&mut self, network: Option<Network>, id: u64) -> Option<CancellationToken> {
        let removed = self.change(network, |places| places.remove(&id))?;
        self.len -= 1;
        Some(removed)
    }

    fn change<T>(&mut self, network: Option<Network>, change: impl FnOnce(&mut OfNetwork) -> T) -> T {
        let places = self.networks.entry(network).or_default();
        if let Some(before) = rank(places) {
            self.ranks.remove(&before);
        }
        let changed = change(places);
        match rank(places) {
            Some(rank) => {
                self.ranks.insert(rank, network);
            }
            None => {
                self.networks.remove(&network);
            }
        }
        changed
    }

    fn count(&self, network: Option<Network>) -> usize {
        self.networks.get(&network).map_or(0, BTreeMap::len)
    }

    fn largest(&self) -> Option<Option<Network>> {
        self.ranks.last_key_value().map(|(_, network)| *network)
    }

    /// Takes out the oldest of a network.
    fn evict(&mut self, network: Option<Network>) -> Option<CancellationToken> {
        let oldest = *self.networks.get(&network)?.keys().next()?;
        self.evicted += 1;
        self.remove(network, oldest)
    }
}

/// `None` without places.
fn rank(places: &OfNetwork) -> Option<Rank> {
    let oldest = places.keys().next()?;
    Some((places.len(), Reverse(*oldest)))
}

/// A place; dropped, it is free.
#[derive(Debug)]
pub(in crate::server) struct Registered {
    of: Arc<Register>,
    network: Option<Network>,
    id: u64,
    evicted: CancellationToken,
}

impl Registered {
    /// Waits until it has to give way.
    pub(in crate::server) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        drop(self.of.lock().remove(self.network, self.id));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn from(last: u8) -> Option<Network> {
        Some(Network::of(IpAddr::from([10, 0, 0, last])))
    }

    fn stays(place: &Registered) -> bool {
        !place.evicted.is_cancelled()
    }

    #[tokio::test]
    async fn the_oldest_of_the_network_with_the_most_gives_way() {
        let register = Register::new(3, 0);
        let probe = register.begin(from(1));
        let (first, second) = (register.begin(from(2)), register.begin(from(2)));
        let third = register.begin(from(2));
        first.evicted().await;
        assert!([&probe, &second, &third].into_iter().all(stays));
        let other = register.begin(from(3));
        second.evicted().await;
        assert!([&probe, &third, &other].into_iter().all(stays));
        // None has more than another: then the oldest.
        let last = register.begin(None);
        probe.evicted().await;
        assert_eq!((register.len(), register.evicted()), (3, 3));
        drop((probe, first, second, third, other, last));
        assert_eq!(register.len(), 0);
    }

    #[test]
    fn a_network_has_no_more_than_it_may_have() {
        let register = Register::new(100, 2);
        let places: Vec<_> = [1, 1, 2, 1, 2].into_iter().map(|last| register.begin(from(last))).collect();
        assert_eq!(places.iter().map(stays).collect::<Vec<_>>(), [false, true, true, true, true]);
        // They are no network.
        let local: Vec<_> = (0..5).map(|_| register.begin(None)).collect();
        assert!(local.iter().all(stays));
    }

    #[test]
    fn who_goes_makes_room() {
        let register = Register::new(1, 1);
        drop(register.begin(from(1)));
        assert!(stays(&register.begin(from(1))));
        assert_eq!(register.evicted(), 0);
    }

    proptest! {
        #[test]
        fn whatever_happens_the_newest_has_its_place_and_the_bounds_hold(
            steps in prop::collection::vec((0_u8..6, any::<prop::sample::Index>(), any::<bool>()), 1..200),
            max in 1_usize..8,
            per_address in 0_usize..4,
        ) {
            let register = Register::new(max, per_address);
            let mut open: Vec<(u8, Registered)> = Vec::new();
            for (last, which, leaves) in steps {
                if leaves && !open.is_empty() {
                    open.swap_remove(which.index(open.len()));
                } else {
                    let place = register.begin(from(last));
                    prop_assert!(stays(&place));
                    open.push((last, place));
                }
                let there = |last| open.iter().filter(|(of, place)| *of == last && stays(place)).count();
                prop_assert!((0..6).all(|last| per_address == 0 || there(last) <= per_address));
                prop_assert_eq!(register.len(), (0..6).map(there).sum::<usize>());
                prop_assert!(register.len() <= max);
            }
            drop(open);
            let places = register.lock();
            prop_assert!(places.len == 0 && places.networks.is_empty() && places.ranks.is_empty());
        }
    }
}

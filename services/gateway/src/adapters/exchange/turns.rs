//! How many exchanges go on at once: of each network before all together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many exchanges go on at once, and of one network.
const RUNNING: usize = 256;
const RUNNING_OF_NETWORK: usize = 16;
/// How many are there at once, those that wait included, beside [`OWN`] of each network.
const MOST: usize = 2048;
const MOST_OF_NETWORK: usize = 64;
/// As many as a network may have whatever others have.
const OWN: usize = 4;

/// The places of exchanges. Clones share them.
#[derive(Clone)]
pub(super) struct Turns {
    counts: Arc<Mutex<Counts>>,
    running: Arc<Semaphore>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    networks: HashMap<Option<IpAddr>, Network>,
}

struct Network {
    count: usize,
    running: Arc<Semaphore>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The network has as many as it may.
    Network,
    /// So have all together.
    All,
}

/// The place of one exchange.
pub(super) struct Place {
    turns: Turns,
    network: Option<IpAddr>,
    running: Arc<Semaphore>,
}

/// The turn of one exchange: it goes on as long as this is held.
pub(super) struct Turn {
    _network: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        Self { counts: Arc::default(), running: Arc::new(Semaphore::new(RUNNING)) }
    }
}

impl Turns {
    /// A place for an exchange of `network`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn place(&self, network: Option<IpAddr>) -> Result<Place, Full> {
        let mut counts = self.counts();
        let own = counts.networks.get(&network).map_or(0, |network| network.count);
        if own >= MOST_OF_NETWORK {
            return Err(Full::Network);
        }
        if own >= OWN && counts.total >= MOST {
            return Err(Full::All);
        }
        counts.total += 1;
        let of_network = counts
            .networks
            .entry(network)
            .or_insert_with(|| Network { count: 0, running: Arc::new(Semaphore::new(RUNNING_OF_NETWORK)) });
        of_network.count += 1;
        let running = Arc::clone(&of_network.running);
        Ok(Place { turns: self.clone(), network, running })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No count is left half changed by a panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for the turn: first for that of its network, so that no network has more than its share of those that wait for the
    /// other. `None`: never, since the process ends.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let network = Arc::clone(&self.running).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.turns.running).acquire_owned().await.ok()?;
        Some(Turn { _network: network, _all: all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.turns.counts();
        counts.total = counts.total.saturating_sub(1);
        if let Some(network) = counts.networks.get_mut(&self.network) {
            network.count = network.count.saturating_sub(1);
            if network.count == 0 {
                counts.networks.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn at(number: u32) -> Option<IpAddr> {
        Some(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_network_has_its_share_of_places_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let places: Vec<_> = (0..MOST_OF_NETWORK).map(|_| turns.place(at(1)).unwrap()).collect();
        assert_eq!(turns.place(at(1)).map(drop), Err(Full::Network));
        drop(turns.place(at(2)).unwrap());
        drop(places);
        assert!(turns.place(at(1)).is_ok());
        let counts = turns.counts();
        assert_eq!((counts.total, counts.networks.len()), (0, 0));
    }

    #[test]
    fn when_all_places_are_taken_each_network_has_a_few_of_its_own() {
        let turns = Turns::default();
        let networks = u32::try_from(MOST / MOST_OF_NETWORK).unwrap();
        let _taken: Vec<_> = (0..networks)
            .flat_map(|network| (0..MOST_OF_NETWORK).map(move |_| network))
            .map(|network| turns.place(at(network)).unwrap())
            .collect();
        let _own: Vec<_> = (0..OWN).map(|_| turns.place(at(networks)).unwrap()).collect();
        assert_eq!(turns.place(at(networks)).map(drop), Err(Full::All));
    }

    #[tokio::test]
    async fn one_network_runs_its_share_and_others_go_on() {
        let turns = Turns::default();
        let places: Vec<_> = (0..RUNNING_OF_NETWORK + 1).map(|_| turns.place(at(1)).unwrap()).collect();
        let mut running = Vec::new();
        for place in &places[1..] {
            running.push(place.turn().await.unwrap());
        }
        assert!(places[0].turn().now_or_never().is_none());
        assert!(turns.place(at(2)).unwrap().turn().now_or_never().is_some());
        running.pop();
        assert!(places[0].turn().now_or_never().is_some());
    }
}

//! Connections that give way when there are too many: the oldest of the address that has the most. So nobody who fills all places is
//! in the way of an address that needs a few.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Turns {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By their age.
    turns: BTreeMap<u64, (Option<IpAddr>, CancellationToken)>,
}

impl Turns {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), open: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic can't leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one from an address; with one too many, another one gives way.
    pub(super) fn begin(self: &Arc<Self>, address: Option<IpAddr>) -> Turn {
        let evicted = CancellationToken::new();
        let mut open = self.lock();
        let id = open.next;
        open.next += 1;
        open.turns.insert(id, (address, evicted.clone()));
        let evicted_one = if open.turns.len() > self.max { open.evict() } else { None };
        drop(open);
        if let Some(other) = evicted_one {
            other.cancel();
        }
        Turn { of: Arc::clone(self), id, evicted }
    }
}

impl Open {
    /// Takes out the one that is to give way.
    fn evict(&mut self) -> Option<CancellationToken> {
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for (address, _) in self.turns.values() {
            *counts.entry(*address).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        let id = *self.turns.iter().find(|(_, (address, _))| counts.get(address) == Some(&most))?.0;
        Some(self.turns.remove(&id)?.1)
    }
}

/// The turn of one connection; dropped, it is over.
#[derive(Debug)]
pub(super) struct Turn {
    of: Arc<Turns>,
    id: u64,
    evicted: CancellationToken,
}

impl Turn {
    /// Waits until it has to give way.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.lock().turns.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test]
    async fn the_oldest_of_the_address_with_the_most_gives_way() {
        let turns = Turns::new(3);
        let probe = turns.begin(from(1));
        let (first, second) = (turns.begin(from(2)), turns.begin(from(2)));
        let third = turns.begin(from(2));
        first.evicted().await;
        assert!([&probe, &second, &third].iter().all(|turn| !turn.evicted.is_cancelled()));
        let other = turns.begin(from(3));
        second.evicted().await;
        assert!([&probe, &third, &other].iter().all(|turn| !turn.evicted.is_cancelled()));
        // None has more than another: then the oldest.
        let last = turns.begin(None);
        probe.evicted().await;
        drop((probe, first, second, third, other, last));
        assert!(turns.lock().turns.is_empty());
    }

    #[test]
    fn who_goes_makes_room() {
        let turns = Turns::new(1);
        drop(turns.begin(from(1)));
        let next = turns.begin(from(1));
        assert!(!next.evicted.is_cancelled());
    }
}

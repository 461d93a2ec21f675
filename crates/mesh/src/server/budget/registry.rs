//! The accounts of all callers that something refers to.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::{fast, quality};

use super::account::Account;
use super::pool::Pool;
use crate::server::peer::Network;

const SHARDS: usize = 16;
/// So many accounts a shard may have before it looks for those that nothing refers to.
const FLOOR: usize = 64;

/// The accounts by network and by principal. Those that nothing refers to are forgotten whenever a shard has twice as
/// many as after the last time: beside a few there are at most twice as many as were in use then.
#[derive(Debug)]
pub(super) struct Registry {
    pool: Arc<Pool>,
    hasher: quality::RandomState,
    shards: [Shard; SHARDS],
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    networks: HashMap<Network, Account, fast::RandomState>,
    principals: HashMap<Box<str>, Account, fast::RandomState>,
    /// How many there may be before the next sweep, if more than [`FLOOR`].
    limit: usize,
}

impl Registry {
    pub fn new(pool: Arc<Pool>) -> Self {
        Self { pool, hasher: quality::RandomState::default(), shards: Default::default() }
    }

    pub fn network(&self, network: Network) -> Account {
        let place = self.place(&network);
        let mut accounts = self.shards[place].lock();
        if let Some(account) = accounts.networks.get(&network) {
            return account.clone();
        }
        accounts.make_room();
        let account = Account::new(Arc::clone(&self.pool), place);
        accounts.networks.insert(network, account.clone());
        account
    }

    pub fn principal(&self, subject: &str) -> Account {
        let place = self.place(subject);
        let mut accounts = self.shards[place].lock();
        if let Some(account) = accounts.principals.get(subject) {
            return account.clone();
        }
        accounts.make_room();
        let account = Account::new(Arc::clone(&self.pool), place);
        accounts.principals.insert(subject.into(), account.clone());
        account
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// The shard of a key, below [`SHARDS`].
    fn place<K: Hash + ?Sized>(&self, key: &K) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // Nothing is left half changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn len(&self) -> usize {
        self.networks.len() + self.principals.len()
    }

    fn make_room(&mut self) {
        if self.len() < self.limit.max(FLOOR) {
            return;
        }
        // Nobody gets an account meanwhile: one is cloned by who has it already, or under the lock.
        self.networks.retain(|_, account| account.is_referenced());
        self.principals.retain(|_, account| account.is_referenced());
        self.limit = 2 * self.len();
        self.networks.shrink_to(2 * self.networks.len());
        self.principals.shrink_to(2 * self.principals.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    fn registry() -> Registry {
        Registry::new(Arc::new(Pool::new(Limits::default())))
    }

    fn network(number: u32) -> Network {
        Network::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_caller_has_one_account_as_long_as_something_refers_to_it() {
        let registry = registry();
        let (anna, here) = (registry.principal("anna"), registry.network(network(0)));
        for number in 1..20_000 {
            registry.principal(&number.to_string());
            registry.network(network(number));
        }
        assert!(registry.principal("anna").is(&anna));
        assert!(registry.network(network(0)).is(&here));
        assert!(!registry.principal("bert").is(&anna));
    }

    #[test]
    fn accounts_that_nothing_refers_to_are_forgotten() {
        let registry = registry();
        for number in 0..20_000 {
            registry.principal(&number.to_string());
            registry.network(network(number));
        }
        assert!(registry.len() <= SHARDS * FLOOR, "{}", registry.len());
        let used: Vec<_> = (0..20_000).map(|number| registry.network(network(number))).collect();
        assert!(registry.len() >= used.len());
        drop(used);
        for number in 0..80_000 {
            registry.principal(&number.to_string());
        }
        assert!(registry.len() <= SHARDS * FLOOR, "{}", registry.len());
    }
}

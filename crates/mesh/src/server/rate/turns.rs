//! Equal turns for the principals at an address that has used up what they have in common.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::time::Instant;

use super::Rate;
use crate::server::peer::Network;

/// So long after its last call a principal is reckoned with at its address.
const ACTIVE: Duration = Duration::from_secs(60);
const SHARDS: usize = 16;
/// So many principals are reckoned with, at all addresses together: some 20 MB at most.
const MAX_PRINCIPALS: usize = 100_000;

/// What is set apart of each address's share for equal turns: it comes in steadily and is dealt out to the principals that were
/// refused there lately, to each as much. Whoever calls much has used up their part; whoever calls little finds theirs.
///
/// All parts of an address come to at most `burst + rate × t`, whoever comes and goes.
#[derive(Debug)]
pub(super) struct Turns {
    allowance: Allowance,
    hasher: RandomState,
    shards: Box<[Mutex<Table>]>,
}

/// What each address has, by this instance.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    burst: f64,
    per_second: f64,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<Network, Parts>,
    principals: usize,
    swept: Option<Instant>,
}

/// The parts of the principals at one address.
#[derive(Debug)]
struct Parts {
    principals: HashMap<Box<str>, Part>,
    /// What each has been dealt out since the address is known, up to `at`.
    dealt: f64,
    at: Instant,
    /// How many newcomers may have a token at once. What those leave unused who are forgotten is for those who come next, or
    /// who calls seldom would be a newcomer each time and never find anything.
    newcomers: f64,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    /// What of `dealt` is used up, or was never theirs.
    used: f64,
    seen: Instant,
}

impl Turns {
    /// Deals out `rate` at each address, of which this is one of so many instances.
    pub fn new(rate: &Rate, instances: u32) -> Self {
        let instances = f64::from(instances.max(1));
        let (burst, per_second) = (rate.burst() as f64 / instances, rate.tokens_per_second() / instances);
        Self {
            allowance: Allowance { burst, per_second },
            hasher: RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a token of a principal's part, if there is one.
    pub fn take(&self, network: Network, principal: &str) -> bool {
        let now = Instant::now();
        let mut guard = self.lock(network);
        let table = &mut *guard;
        table.sweep(self.allowance, now);
        if !table.make_room(network, principal) {
            return false;
        }
        let parts = table.addresses.entry(network).or_insert_with(|| Parts::new(self.allowance, now));
        parts.deal(self.allowance, now);
        let (most, dealt) = (parts.most(self.allowance.burst), parts.dealt);
        let Some(part) = parts.principals.get_mut(principal) else {
            let is_welcome = parts.newcomers >= 1.0;
            parts.newcomers -= f64::from(u8::from(is_welcome));
            parts.principals.insert(principal.into(), Part { used: dealt, seen: now });
            table.principals += 1;
            return is_welcome;
        };
        part.seen = now;
        let left = (dealt - part.used).min(most);
        let is_turn = left >= 1.0;
        part.used = dealt - left + f64::from(u8::from(is_turn));
        is_turn
    }

    /// Gives a token back that was [taken](Turns::take).
    pub fn give_back(&self, network: Network, principal: &str) {
        let mut table = self.lock(network);
        if let Some(part) = table.addresses.get_mut(&network).and_then(|parts| parts.principals.get_mut(principal)) {
            part.used -= 1.0;
        }
    }

    fn lock(&self, network: Network) -> MutexGuard<'_, Table> {
        let place = (self.hasher.hash_one(network) as usize) % SHARDS;
        // Nothing in a table is left half done by a panic.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets who hasn't called for long, at most once a second.
    fn sweep(&mut self, allowance: Allowance, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_secs(1)) {
            return;
        }
        self.swept = Some(now);
        // An address whose parts are not there again comes back with what it had, unless there are too many of them.
        let is_crowded = self.principals >= MAX_PRINCIPALS / SHARDS;
        self.addresses.retain(|_, parts| {
            parts.forget_idle(allowance, now);
            !parts.principals.is_empty() || (parts.newcomers < allowance.burst && !is_crowded)
        });
        self.principals = self.addresses.values().map(|parts| parts.principals.len().max(1)).sum();
    }

    /// Whether a principal is reckoned with, or can be.
    fn make_room(&self, network: Network, principal: &str) -> bool {
        self.principals < MAX_PRINCIPALS / SHARDS
            || self.addresses.get(&network).is_some_and(|parts| parts.principals.contains_key(principal))
    }
}

impl Parts {
    /// Of an address that isn't known.
    fn new(allowance: Allowance, now: Instant) -> Self {
        Self { principals: HashMap::new(), dealt: 0.0, at: now, newcomers: allowance.burst }
    }

    /// How much one principal may save up.
    fn most(&self, burst: f64) -> f64 {
        (burst / self.count()).max(1.0)
    }

    /// Forgets who hasn't called for long.
    fn forget_idle(&mut self, allowance: Allowance, now: Instant) {
        self.deal(allowance, now);
        let (burst, most) = (allowance.burst, self.most(allowance.burst));
        let Self { principals, dealt, newcomers, .. } = self;
        principals.retain(|_, part| {
            let is_active = now.saturating_duration_since(part.seen) < ACTIVE;
            if !is_active {
                *newcomers = (*newcomers + (*dealt - part.used).min(most)).min(burst);
            }
            is_active
        });
    }

    fn count(&self) -> f64 {
        u32::try_from(self.principals.len()).map_or(f64::MAX, f64::from).max(1.0)
    }

    /// Deals out what has come in until `now`; where nobody is, it is for those who come.
    fn deal(&mut self, allowance: Allowance, now: Instant) {
        let came = now.saturating_duration_since(self.at).as_secs_f64() * allowance.per_second;
        if self.principals.is_empty() {
            self.newcomers = (self.newcomers + came).min(allowance.burst);
        } else {
            self.dealt += came / self.count();
        }
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::random::Random;

    fn network(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    #[tokio::test(start_paused = true)]
    async fn the_parts_of_an_address_come_to_no_more_than_its_rate() {
        let turns = Turns::new(&Rate::per_second(50, 20.0).unwrap(), 1);
        let (random, begun) = (Random::seeded(3), Instant::now());
        let mut taken = 0_u32;
        for step in 0..200_000 {
            if random.below(50) == 0 {
                advance(Duration::from_millis(random.below(400) as u64)).await;
            }
            // Others come with time.
            let principal = format!("users/{}", step / 2000 * 10 + random.below(40));
            taken += u32::from(turns.take(network(1), &principal));
        }
        let most = 50.0 + 20.0 * begun.elapsed().as_secs_f64();
        assert!(f64::from(taken) <= most, "{taken} of {most}");
        assert!(f64::from(taken) >= most * 0.2, "{taken} of {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_calls_little_finds_their_part_whatever_others_do() {
        let turns = Turns::new(&Rate::per_second(1000, 100.0).unwrap(), 1);
        let mut quiet = 0;
        for step in 0..6_000 {
            for greedy in 0..97 {
                turns.take(network(1), &format!("users/greedy-{greedy}"));
            }
            if step % 200 == 0 {
                quiet += u32::from(turns.take(network(1), "users/quiet"));
            }
            advance(Duration::from_millis(10)).await;
        }
        assert_eq!(quiet, 30, "one in two seconds is less than an equal part");
    }

    #[tokio::test(start_paused = true)]
    async fn d10_who_calls_so_seldom_that_it_is_forgotten_is_admitted_all_the_same() {
        let turns = Turns::new(&Rate::per_second(100, 100.0).unwrap(), 1);
        let greedy: Vec<_> = (0..98).map(|at| format!("users/greedy-{at}")).collect();
        for at in 0..100 {
            assert!(turns.take(network(1), &format!("users/first-{at}")));
        }
        assert!(!turns.take(network(1), "users/quiet"), "others have come first");
        for _ in 0..5 {
            for _ in 0..120 {
                advance(Duration::from_secs(1)).await;
                for one in greedy.iter().chain(&greedy) {
                    turns.take(network(1), one);
                }
            }
            assert!(turns.take(network(1), "users/quiet"), "it has left its part to who comes next");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d10_an_address_that_is_forgotten_comes_back_with_no_more_than_its_rate() {
        let (turns, begun) = (Turns::new(&Rate::per_second(1000, 1.0).unwrap(), 1), Instant::now());
        let mut taken = 0_u32;
        for round in 0..20 {
            for at in 0..1000 {
                taken += u32::from(turns.take(network(1), &format!("users/{round}-{at}")));
            }
            advance(ACTIVE + Duration::from_secs(1)).await;
        }
        let most = 1000.0 + begun.elapsed().as_secs_f64();
        assert!(f64::from(taken) <= most, "{taken} of {most}");
        assert!(taken >= 1000, "{taken} of {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_called_for_long_is_forgotten() {
        let turns = Turns::new(&Rate::per_second(10, 1.0).unwrap(), 1);
        for last in 0..200 {
            assert!(turns.take(network(last), "users/anna"));
        }
        advance(ACTIVE + Duration::from_secs(1)).await;
        for last in 0..200 {
            turns.take(network(last), "users/bert");
        }
        let left: usize = turns.shards.iter().map(|shard| shard.lock().unwrap().principals).sum();
        assert_eq!(left, 200);
    }
}

//! Many threads at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Account, Caller, CallerLimits, Hold, Resource};
use super::{address, budgets};

const STREAMS: Resource = Resource::Streams;
const THREADS: u64 = 4;
const STEPS: usize = 20_000;
const LIMITS: CallerLimits = CallerLimits { total: 3, per_principal: 5, per_stranger: 5, per_address: 9, own: 2 };

/// What somebody has at least, counted beside the budgets.
#[derive(Default)]
struct Least(AtomicUsize);

impl Least {
    fn add(&self, more: usize, limit: usize) {
        let now = self.0.fetch_add(more, Ordering::SeqCst) + more;
        assert!(now <= limit, "{now} of {limit}");
    }

    fn sub(&self, less: usize) {
        self.0.fetch_sub(less, Ordering::SeqCst);
    }
}

/// One who asks, and what it and its address have.
struct CallerId<'a> {
    address: &'a Account,
    principal: Option<&'a Account>,
    own: Least,
    at_address: &'a Least,
}

#[test]
fn never_is_too_much_admitted_and_nothing_is_lost() {
    let budgets = budgets(LIMITS);
    let addresses = [address(&budgets, 1), address(&budgets, 2)];
    let names = ["anna", "bert"].map(|name| budgets.account_of_principal(name));
    let (all, at) = (Least::default(), [Least::default(), Least::default()]);
    // Each name calls from one address, so that its counts are known.
    let callers = [(0, Some(&names[0])), (0, None), (1, Some(&names[1])), (1, None)].map(|(place, principal)| {
        CallerId { address: &addresses[place], principal, own: Least::default(), at_address: &at[place] }
    });
    let most = LIMITS.total + LIMITS.own * callers.len();
    let give_back = |who: &CallerId<'_>, hold: Hold| {
        for least in [&all, &who.own, who.at_address] {
            least.sub(hold.amount());
        }
    };
    let run = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut holds: Vec<(&CallerId<'_>, Hold)> = Vec::new();
        for _ in 0..STEPS {
            if !holds.is_empty() && random.bool() {
                let place = random.usize(..holds.len());
                if random.bool() {
                    let (who, hold) = holds.swap_remove(place);
                    give_back(who, hold);
                    continue;
                }
                let (who, hold) = &mut holds[place];
                let (before, amount) = (hold.amount(), random.usize(..4));
                for least in [&all, &who.own, who.at_address] {
                    least.sub(before.saturating_sub(amount));
                }
                if hold.resize(amount).is_ok() {
                    all.add(amount.saturating_sub(before), most);
                    who.own.add(amount.saturating_sub(before), LIMITS.per_principal);
                    who.at_address.add(amount.saturating_sub(before), LIMITS.per_address);
                }
            } else {
                let who = &callers[random.usize(..callers.len())];
                let (amount, caller) =
                    (random.usize(1..3), Caller { address: Some(who.address), principal: who.principal });
                if let Ok(hold) = budgets.take(STREAMS, amount, caller) {
                    all.add(amount, most);
                    who.own.add(amount, LIMITS.per_principal);
                    who.at_address.add(amount, LIMITS.per_address);
                    holds.push((who, hold));
                }
            }
        }
        for (who, hold) in holds {
            give_back(who, hold);
        }
    };
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            scope.spawn(move || run(seed));
        }
    });
    assert_eq!(budgets.in_use(STREAMS), 0);
    for who in &callers {
        let caller = Caller { address: Some(who.address), principal: who.principal };
        let taken = budgets.take(STREAMS, LIMITS.total + LIMITS.own, caller);
        assert!(taken.is_ok(), "all that is shared and its own");
    }
    budgets.take(STREAMS, LIMITS.total, Caller::default()).unwrap();
    budgets.take(STREAMS, LIMITS.total + 1, Caller::default()).unwrap_err();
}

//! The budgets decide as plain maps do.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::{Account, Caller, CallerLimits, Hold, Resource, Scope};
use super::{address, budgets};

const STREAMS: Resource = Resource::Streams;
const ADDRESSES: u8 = 2;
const NAMES: [&str; 3] = ["anna", "bert", "carl"];

/// Who asks: the numbers of an address and of a name.
#[derive(Clone, Copy, Debug)]
struct CallerId {
    address: Option<u8>,
    name: Option<usize>,
}

/// What happens. Holds are chosen by any number.
#[derive(Clone, Debug)]
enum Step {
    Take { who: CallerId, amount: usize },
    Resize { hold: usize, amount: usize },
    Drop { hold: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = (prop::option::of(0..ADDRESSES), prop::option::of(0..NAMES.len()))
        .prop_map(|(address, name)| CallerId { address, name });
    let step = prop_oneof![
        3 => (who, 0..4_usize).prop_map(|(who, amount)| Step::Take { who, amount }),
        2 => (any::<usize>(), 0..6_usize).prop_map(|(hold, amount)| Step::Resize { hold, amount }),
        1 => any::<usize>().prop_map(|hold| Step::Drop { hold }),
    ];
    prop::collection::vec(step, 0..60)
}

fn limits() -> impl Strategy<Value = CallerLimits> {
    (0..6_usize, 0..6_usize, 0..6_usize, 0..9_usize, 0..4_usize).prop_map(
        |(total, per_principal, per_stranger, per_address, own)| CallerLimits {
            total,
            per_principal,
            per_stranger,
            per_address,
            own,
        },
    )
}

/// The rules, as they are written.
#[derive(Default)]
struct Model {
    limits: CallerLimits,
    addresses: HashMap<u8, usize>,
    /// By name, or by address for those without one.
    callers: HashMap<(Option<usize>, Option<u8>), usize>,
    shared: usize,
}

impl Model {
    fn key(who: CallerId) -> Option<(Option<usize>, Option<u8>)> {
        match who.name {
            Some(name) => Some((Some(name), None)),
            None => who.address.map(|address| (None, Some(address))),
        }
    }

    /// Changes what `who` has from one number to another one.
    fn step(&mut self, who: CallerId, from: usize, to: usize) -> Result<(), Scope> {
        let limits = self.limits;
        let over = |limit: usize, now: usize| limit != 0 && now > limit;
        let at_address = who.address.map(|address| self.addresses.get(&address).copied().unwrap_or(0) + to - from);
        let key = Self::key(who);
        let before = key.map(|key| self.callers.get(&key).copied().unwrap_or(0));
        let after = before.map(|before| before + to - from);
        let above = |count: usize| count.saturating_sub(limits.own);
        let shared = match (before, after) {
            (Some(before), Some(after)) => self.shared + above(after) - above(before),
            _ => self.shared + to - from,
        };
        if to > from {
            if at_address.is_some_and(|count| over(limits.per_address, count)) {
                return Err(Scope::Address);
            }
            let limit = if who.name.is_some() { limits.per_principal } else { limits.per_stranger };
            if after.is_some_and(|after| over(limit, after)) {
                return Err(Scope::Caller);
            }
            if shared > self.shared && over(limits.total, shared) {
                return Err(Scope::Server);
            }
        }
        if let (Some(address), Some(count)) = (who.address, at_address) {
            self.addresses.insert(address, count);
        }
        if let (Some(key), Some(after)) = (key, after) {
            self.callers.insert(key, after);
        }
        self.shared = shared;
        Ok(())
    }
}

proptest! {
    #[test]
    fn budgets_decide_as_the_rules_say(limits in limits(), steps in steps()) {
        let budgets = budgets(limits);
        let addresses: Vec<Account> = (0..ADDRESSES).map(|last| address(&budgets, last)).collect();
        let names = NAMES.map(|name| budgets.account_of_principal(name));
        let mut model = Model { limits, ..Model::default() };
        let mut holds: Vec<(CallerId, Hold)> = Vec::new();
        for step in steps {
            match step {
                Step::Take { who, amount } => {
                    let caller = Caller {
                        address: who.address.map(|last| &addresses[usize::from(last)]),
                        principal: who.name.map(|name| &names[name]),
                    };
                    let taken = budgets.take(STREAMS, amount, caller);
                    let scope = taken.as_ref().map(|_| ()).map_err(|exceeded| exceeded.scope);
                    prop_assert_eq!(scope, model.step(who, 0, amount));
                    holds.extend(taken.ok().map(|hold| (who, hold)));
                }
                Step::Resize { hold, amount } if !holds.is_empty() => {
                    let place = hold % holds.len();
                    let (who, hold) = &mut holds[place];
                    let before = hold.amount();
                    let resized = hold.resize(amount).map_err(|exceeded| exceeded.scope);
                    prop_assert_eq!(resized, model.step(*who, before, amount));
                    prop_assert_eq!(hold.amount(), if resized.is_ok() { amount } else { before });
                }
                Step::Drop { hold } if !holds.is_empty() => {
                    let (who, hold) = holds.swap_remove(hold % holds.len());
                    prop_assert_eq!(model.step(who, hold.amount(), 0), Ok(()));
                }
                Step::Resize { .. } | Step::Drop { .. } => {}
            }
            prop_assert_eq!(budgets.in_use(STREAMS), holds.iter().map(|(_, hold)| hold.amount()).sum::<usize>());
            for last in 0..ADDRESSES {
                let count = model.addresses.get(&last).copied().unwrap_or(0);
                let full = limits.per_address != 0 && count >= limits.per_address;
                prop_assert_eq!(budgets.is_address_full(STREAMS, &addresses[usize::from(last)]), full);
            }
        }
        holds.clear();
        prop_assert_eq!(budgets.in_use(STREAMS), 0);
        let all = budgets.take(STREAMS, limits.total, Caller::default());
        prop_assert!(all.is_ok(), "nothing of what is shared is lost");
        prop_assert_eq!(budgets.take(STREAMS, 1, Caller::default()).is_ok(), limits.total == 0);
    }
}

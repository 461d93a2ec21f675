//! What callers get beside each other.

use super::super::{Budgets, Caller, CallerLimits, Exceeded, Hold, Resource, Scope};
use super::{address, budgets};

const STREAMS: Resource = Resource::Streams;

fn take(budgets: &Budgets, caller: Caller<'_>) -> Result<Hold, Scope> {
    budgets.take(STREAMS, 1, caller).map_err(|exceeded| exceeded.scope)
}

#[test]
fn s2_who_comes_last_has_its_own_still() {
    let budgets = budgets(CallerLimits { total: 3, per_principal: 6, own: 4, ..CallerLimits::default() });
    let mut held = Vec::new();
    for (name, count, scope) in [("anna", 6, Scope::Caller), ("bert", 5, Scope::Server), ("carl", 4, Scope::Server)] {
        let account = budgets.account_of_principal(name);
        let caller = Caller { address: None, principal: Some(&account) };
        for _ in 0..count {
            held.push(take(&budgets, caller).unwrap());
        }
        assert_eq!(take(&budgets, caller).unwrap_err(), scope, "{name}");
    }
    assert_eq!((budgets.in_use(STREAMS), budgets.refused(STREAMS)), (15, 3));
    drop(held);
    assert_eq!(budgets.in_use(STREAMS), 0);
}

#[test]
fn s2_many_accounts_at_one_address_have_no_more_than_the_address() {
    let limits = CallerLimits { per_principal: 2, per_stranger: 2, per_address: 4, own: 4, ..CallerLimits::default() };
    let budgets = budgets(limits);
    let (here, there) = (address(&budgets, 1), address(&budgets, 2));
    let mut held = vec![take(&budgets, Caller::address(&here)).unwrap()];
    held.push(take(&budgets, Caller::address(&here)).unwrap());
    assert_eq!(take(&budgets, Caller::address(&here)).unwrap_err(), Scope::Caller);
    let names = ["anna", "bert", "carl"].map(|name| budgets.account_of_principal(name));
    let from = |address, principal| Caller { address: Some(address), principal: Some(principal) };
    for name in &names[..2] {
        assert!(!budgets.is_address_full(STREAMS, &here));
        held.push(take(&budgets, from(&here, name)).unwrap());
    }
    assert!(budgets.is_address_full(STREAMS, &here));
    assert_eq!(take(&budgets, from(&here, &names[2])).unwrap_err(), Scope::Address);
    take(&budgets, from(&there, &names[2])).expect("another address");
    held.pop();
    take(&budgets, from(&here, &names[2])).expect("what is given back is free");
}

#[test]
fn who_has_neither_name_nor_address_has_nothing_of_its_own() {
    let budgets = budgets(CallerLimits { total: 1, own: 4, ..CallerLimits::default() });
    let _held = take(&budgets, Caller::default()).unwrap();
    let refused = budgets.take(STREAMS, 1, Caller::default()).unwrap_err();
    assert_eq!(refused, Exceeded { resource: STREAMS, scope: Scope::Server, limit: 1 });
    take(&budgets, Caller::address(&address(&budgets, 1))).expect("one of its own");
}

#[test]
fn what_cannot_grow_stays_as_it_was_and_less_is_always_possible() {
    let budgets = budgets(CallerLimits { total: 10, own: 5, ..CallerLimits::default() });
    let here = address(&budgets, 1);
    let mut hold = budgets.take(STREAMS, 0, Caller::address(&here)).unwrap();
    hold.resize(15).unwrap();
    assert_eq!(hold.resize(16).unwrap_err().scope, Scope::Server);
    assert_eq!((hold.amount(), budgets.in_use(STREAMS)), (15, 15));
    hold.resize(8).unwrap();
    let there = address(&budgets, 2);
    let mut other = budgets.take(STREAMS, 12, Caller::address(&there)).unwrap();
    assert_eq!(other.resize(13).unwrap_err().scope, Scope::Server);
    hold.resize(0).unwrap();
    other.resize(15).unwrap();
    assert_eq!((hold.amount(), other.amount(), budgets.in_use(STREAMS)), (0, 15, 15));
}

#[test]
fn who_asks_for_far_too_much_takes_nothing_from_others() {
    let budgets = budgets(CallerLimits { total: 10, per_address: 20, ..CallerLimits::default() });
    let here = address(&budgets, 1);
    for amount in [11, 21, usize::MAX] {
        budgets.take(STREAMS, amount, Caller::address(&here)).unwrap_err();
    }
    budgets.take(STREAMS, 10, Caller::address(&here)).unwrap();
}

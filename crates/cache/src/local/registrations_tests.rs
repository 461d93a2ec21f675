//! Any order of fills and invalidations leaves nothing old behind.

use std::cell::Cell;

use proptest::prelude::*;

use super::registrations::{Joined, Registrations, Ticket};

const KEY: &str = "lamp";

/// A step of some filler or of the committer.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A filler registers and reads what is committed.
    Begin,
    /// The filler of that number (of those under way) inserts what it has read.
    Finish(usize),
    /// The filler of that number gives up.
    Cancel(usize),
    /// A new version is committed, and invalidated at once.
    Commit { versioned: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Begin),
        3 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<bool>().prop_map(|versioned| Step::Commit { versioned }),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn ca_2_no_order_of_fills_and_invalidations_leaves_an_entry_below_the_invalidated_version(steps in steps()) {
        let registrations = Registrations::<u64>::new();
        let entry: Cell<Option<u64>> = Cell::new(None);
        let mut committed = 1_u64;
        let mut under_way: Vec<(Ticket<u64>, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Begin => under_way.push((registrations.begin(KEY), committed)),
                Step::Finish(at) if !under_way.is_empty() => {
                    let (ticket, version) = under_way.remove(at % under_way.len());
                    let is_current = version == committed;
                    let is_inserted = ticket.finish(version, || {
                        if entry.get().is_none_or(|there| there <= version) {
                            entry.set(Some(version));
                        }
                    });
                    prop_assert!(is_current || !is_inserted);
                }
                Step::Cancel(at) if !under_way.is_empty() => drop(under_way.remove(at % under_way.len())),
                Step::Finish(_) | Step::Cancel(_) => {}
                Step::Commit { versioned } => {
                    committed += 1;
                    let version = versioned.then_some(committed);
                    registrations.invalidate(KEY, version, || {
                        if version.is_none_or(|version| entry.get().is_some_and(|there| there < version)) {
                            entry.set(None);
                        }
                    });
                }
            }
            prop_assert!(entry.get().is_none_or(|there| there == committed));
        }
        drop(under_way);
        prop_assert_eq!(registrations.open_keys(), 0);
    }
}

#[test]
fn ca_4_readers_join_the_flight_until_an_invalidation_detaches_it() {
    let registrations = Registrations::<u64>::new();
    let Joined::Leads(first, 1) = registrations.join(KEY, |_| true, || 1) else { panic!("the first one leads") };
    assert!(matches!(registrations.join(KEY, |_| true, || 2), Joined::Follows(1)));
    registrations.invalidate(KEY, Some(7), || {});
    let Joined::Leads(second, 3) = registrations.join(KEY, |_| true, || 3) else { panic!("a later one leads anew") };
    assert_eq!((first.floor(), second.floor()), (7, 0));
    assert!(!first.finish(6, || panic!("it is below the floor")));
    assert!(matches!(registrations.join(KEY, |_| true, || 4), Joined::Follows(3)), "the end of another one is none");
    assert!(second.finish(6, || {}));
    assert_eq!(registrations.open_keys(), 0);
}

#[test]
fn a_flight_that_is_not_accepted_is_replaced() {
    let registrations = Registrations::<u64>::new();
    let Joined::Leads(first, _) = registrations.join(KEY, |_| true, || 1) else { panic!("the first one leads") };
    let Joined::Leads(second, 2) = registrations.join(KEY, |flight| *flight > 1, || 2) else {
        panic!("it is replaced")
    };
    drop(first);
    assert!(matches!(registrations.join(KEY, |_| true, || 3), Joined::Follows(2)));
    drop(second);
    assert_eq!(registrations.open_keys(), 0);
}

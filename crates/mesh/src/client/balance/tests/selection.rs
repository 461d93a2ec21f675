//! From the choice of a picker to an endpoint that can take the attempt.

use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use tokio::time::Instant;
use tonic::Code;

use super::{Candidate, OK, PickArgs, Picker, candidates, select};
use crate::outcome::Outcome;

/// Always the same.
struct Fixed(usize);

impl Picker for Fixed {
    fn pick(&self, _call: &PickArgs<'_>, _ready: &[Candidate]) -> usize {
        self.0
    }
}

/// The order in which an attempt is offered, if nobody takes it.
fn offered(choice: usize, ready: &[Candidate], tried: &[usize], now: Instant) -> Vec<usize> {
    let headers = HeaderMap::new();
    let call = PickArgs { method: "", headers: &headers, now };
    let mut offered = Vec::new();
    let is_tried = (!tried.is_empty()).then_some(|index: usize| tried.contains(&index));
    let taken = select(&Fixed(choice), &call, ready, is_tried, |index| {
        offered.push(index);
        None::<()>
    });
    assert_eq!(taken, None);
    offered
}

fn answered(candidate: &Candidate, millis: u64) {
    candidate.load().record(Instant::now(), Some(Duration::from_millis(millis)), OK);
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_goes_to_the_choice_and_then_by_cost() {
    let ready = candidates(4);
    for (candidate, millis) in ready.iter().zip([30, 10, 20, 40]) {
        answered(candidate, millis);
    }
    assert_eq!(offered(3, &ready, &[], Instant::now()), [3, 1, 2, 0]);
    assert_eq!(offered(7, &ready, &[], Instant::now()), [3, 1, 2, 0], "beyond the last it wraps around");
}

#[tokio::test(start_paused = true)]
async fn c18_what_the_call_has_been_to_comes_last() {
    let ready = candidates(4);
    for (candidate, millis) in ready.iter().zip([30, 10, 20, 40]) {
        answered(candidate, millis);
    }
    assert_eq!(offered(1, &ready, &[1, 2], Instant::now()), [0, 3, 1, 2]);
    assert_eq!(offered(3, &ready, &[1], Instant::now()), [3, 2, 0, 1], "an untried choice comes first");
    assert_eq!(offered(0, &ready, &[0, 1, 2, 3], Instant::now()), [1, 2, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn c3_a_further_attempt_goes_to_those_that_do_not_fail() {
    let ready = candidates(4);
    for candidate in &ready {
        answered(candidate, 1);
    }
    for (candidate, refusals) in ready.iter().zip([100, 80, 0, 2]) {
        for _ in 0..refusals {
            candidate.load().refused(Instant::now());
        }
    }
    assert_eq!(offered(0, &ready, &[1], Instant::now()), [2, 3, 0, 1], "though 0 was chosen");
    assert_eq!(offered(0, &ready, &[], Instant::now()), [0, 2, 3, 1], "a first attempt is the picker's");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_nothing_is_known_of_counts_as_the_quickest_by_its_calls_in_flight() {
    let ready = candidates(3);
    tokio::time::advance(Duration::from_secs(5)).await;
    answered(&ready[0], 10);
    answered(&ready[1], 20);
    // The call has been to all: their order is that of their costs.
    let order = |ready: &[Candidate]| offered(0, ready, &[0, 1, 2], Instant::now());
    assert_eq!(order(&ready), [0, 2, 1], "as the quickest, after it in order");
    ready[2].load().begin();
    ready[2].load().begin();
    assert_eq!(order(&ready), [0, 1, 2], "three times the calls are as dear as three times the latency");
}

#[test]
fn of_many_endpoints_all_are_offered_once_and_the_least_of_sixteen_first() {
    let ready = candidates(100);
    let now = Instant::now();
    for (index, candidate) in ready.iter().enumerate() {
        candidate.load().record(now, Some(Duration::from_millis(100 - index as u64)), OK);
    }
    let order = offered(40, &ready, &[], now);
    assert_eq!(order[..3], [40, 56, 55], "the choice, then the quickest of the sixteen after it");
    let mut all = order;
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

/// What an endpoint has been through.
#[derive(Clone, Copy, Debug)]
struct Past {
    millis: Option<u64>,
    in_flight: u32,
    failures: u32,
}

impl Past {
    fn candidates(pasts: &[Self], now: Instant) -> Vec<Candidate> {
        let ready = candidates(pasts.len() as u16);
        for (past, candidate) in pasts.iter().zip(&ready) {
            let load = candidate.load();
            load.record(now, past.millis.map(Duration::from_millis), OK);
            (0..past.in_flight).for_each(|_| load.begin());
            (0..past.failures).for_each(|_| load.record(now, None, Outcome::Status(Code::Internal)));
        }
        ready
    }

    /// Whether it is better in one respect, and worse in none.
    fn is_better_than(&self, other: &Self) -> bool {
        let worse = self.in_flight > other.in_flight || self.failures > other.failures;
        let better = self.in_flight < other.in_flight || self.failures < other.failures;
        match (self.millis, other.millis) {
            (Some(own), Some(others)) => !worse && own <= others && (better || own < others),
            _ => false,
        }
    }
}

fn past() -> impl Strategy<Value = Past> {
    (prop::option::of(1_u64..500), 0_u32..20, 0_u32..60).prop_map(|(millis, in_flight, failures)| Past {
        millis,
        in_flight,
        failures,
    })
}

proptest! {
    #[test]
    fn each_is_offered_once_the_untried_first_and_the_better_before_the_worse(
        pasts in prop::collection::vec(past(), 1..16),
        choice in 0_usize..16,
        tried in prop::collection::vec(0_usize..16, 0..5),
    ) {
        let now = Instant::now();
        let ready = Past::candidates(&pasts, now);
        let order = offered(choice, &ready, &tried, now);
        let mut all = order.clone();
        all.sort_unstable();
        prop_assert_eq!(all, (0..pasts.len()).collect::<Vec<_>>());
        let again: Vec<_> = order.iter().map(|index| tried.contains(index)).collect();
        prop_assert!(again.is_sorted(), "{:?}", again);
        // Whatever the place of the choice, which may come before better ones.
        let rest: Vec<_> = order.iter().copied().filter(|index| *index != choice % pasts.len()).collect();
        for (at, &earlier) in rest.iter().enumerate() {
            for &later in &rest[at + 1..] {
                let same = tried.contains(&earlier) == tried.contains(&later);
                prop_assert!(!same || !pasts[later].is_better_than(&pasts[earlier]), "{:?} {:?}", order, pasts);
            }
        }
    }
}

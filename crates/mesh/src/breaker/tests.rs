//! Tests of the breaker, by itself, against a model, and under threads.

mod layer;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tonic::Code;

use super::*;
use crate::policy::FailureRate;

const OK: Outcome = Outcome::Status(Code::Ok);
const BAD: Outcome = Outcome::Status(Code::Unavailable);

fn policy() -> CircuitBreaker {
    CircuitBreaker::default()
}

fn opened(now: Instant) -> Breaker {
    let breaker = Breaker::new(policy());
    for _ in 0..5 {
        breaker.record(now, BAD);
    }
    assert_eq!(breaker.state(now), Circuit::Open);
    breaker
}

fn probe(breaker: &Breaker, now: Instant) -> ProbePermit {
    match breaker.admit(now) {
        Admission::Probe(permit) => permit,
        other => panic!("{other:?}"),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_open_it_for_sixty_seconds() {
    let now = Instant::now();
    let breaker = Breaker::new(policy());
    for _ in 0..4 {
        breaker.record(now, BAD);
    }
    breaker.record(now, OK);
    for _ in 0..4 {
        breaker.record(now, BAD);
    }
    assert_eq!(breaker.state(now), Circuit::Closed);
    breaker.record(now, Outcome::TimedOut);
    assert_eq!(breaker.open_until(), Some(now + MINUTE));
    assert!(matches!(breaker.admit(now), Admission::Rejected { until } if until == Some(now + MINUTE)));
    assert_eq!(breaker.state(now + MINUTE - Duration::from_nanos(1)), Circuit::Open);
    assert_eq!(breaker.state(now + MINUTE), Circuit::HalfOpen);
    assert_eq!(breaker.open_until(), None);
}

/// A timer that is set late must fire at once: were the time no longer told, nothing would turn the circuit.
#[tokio::test(start_paused = true)]
async fn the_time_of_an_open_circuit_is_told_until_it_turned() {
    let start = Instant::now();
    let breaker = opened(start);
    tokio::time::advance(MINUTE).await;
    assert_eq!(breaker.open_until(), Some(start + MINUTE));
    assert_eq!(breaker.state(Instant::now()), Circuit::HalfOpen);
    assert_eq!(breaker.open_until(), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_server_cancelled_is_neither_failure_nor_success() {
    let now = Instant::now();
    let breaker = Breaker::new(policy());
    for _ in 0..5 {
        breaker.record(now, Outcome::Status(Code::Cancelled));
        breaker.record(now, BAD);
    }
    assert_eq!(breaker.state(now), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn trap_2_cancelled_calls_count_for_nothing() {
    let now = Instant::now();
    let breaker = Breaker::new(policy());
    for _ in 0..4 {
        breaker.record(now, BAD);
    }
    for _ in 0..10 {
        breaker.record(now, Outcome::Cancelled);
    }
    assert_eq!(breaker.state(now), Circuit::Closed);
    breaker.record(now, BAD);
    assert_eq!(breaker.state(now), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn three_probes_at_once_and_three_successes_close_it() {
    let now = Instant::now();
    let breaker = opened(now);
    let now = now + MINUTE;
    let probes = [probe(&breaker, now), probe(&breaker, now), probe(&breaker, now)];
    assert!(matches!(breaker.admit(now), Admission::Rejected { until: None }));
    for (done, permit) in probes.into_iter().enumerate() {
        assert_eq!(breaker.state(now), Circuit::HalfOpen, "after {done}");
        permit.settle(now, Outcome::Status(Code::NotFound));
    }
    assert_eq!(breaker.state(now), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_failed_probe_opens_it_again_for_the_whole_time() {
    let start = Instant::now();
    let breaker = opened(start);
    let now = start + MINUTE;
    let (first, second) = (probe(&breaker, now), probe(&breaker, now));
    first.settle(now, BAD);
    assert_eq!(breaker.state(now + MINUTE - Duration::from_nanos(1)), Circuit::Open);
    let now = now + MINUTE;
    assert_eq!(breaker.state(now), Circuit::HalfOpen);
    // A probe of the round before has no say in this one.
    second.settle(now, BAD);
    assert_eq!(breaker.state(now), Circuit::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn trap_4_a_dropped_probe_is_given_back_and_judges_nothing() {
    let start = Instant::now();
    let breaker = opened(start);
    let now = start + MINUTE;
    for _ in 0..100 {
        drop(probe(&breaker, now));
        probe(&breaker, now).settle(now, Outcome::Cancelled);
    }
    let held = [probe(&breaker, now), probe(&breaker, now), probe(&breaker, now)];
    assert_eq!(breaker.state(now), Circuit::HalfOpen);
    drop(held);
    assert_eq!(breaker.0.lock().probing, 0);
}

#[tokio::test(start_paused = true)]
async fn probes_that_are_not_answered_keep_others_from_probing_only_for_as_long_as_it_was_open() {
    let start = Instant::now();
    let breaker = opened(start);
    let now = start + MINUTE;
    let hung = [probe(&breaker, now), probe(&breaker, now), probe(&breaker, now)];
    assert!(breaker.rejects(now + MINUTE - Duration::from_nanos(1)));
    assert_eq!(breaker.open_until(), Some(now + MINUTE));
    let now = now + MINUTE;
    assert!(!breaker.rejects(now));
    let others = [probe(&breaker, now), probe(&breaker, now), probe(&breaker, now)];
    assert!(breaker.rejects(now));
    // They have given their places back already.
    drop(hung);
    assert!(breaker.rejects(now));
    others.into_iter().for_each(|permit| permit.settle(now, OK));
    assert_eq!(breaker.state(now), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_half_opens_at_once() {
    let now = Instant::now();
    let breaker = opened(now);
    breaker.half_open();
    assert_eq!(breaker.state(now), Circuit::HalfOpen);
    let closed = Breaker::new(policy());
    closed.half_open();
    assert_eq!(closed.state(now), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn late_results_of_calls_from_before_count_neither_half_open_nor_when_it_is_closed_again() {
    let now = Instant::now();
    let breaker = Breaker::new(policy());
    let mut before: Vec<_> = (0..25).map(|_| breaker.admit(now)).collect();
    let late = |admissions: std::vec::Drain<'_, Admission>| {
        admissions.for_each(|admission| breaker.settle(now, admission, BAD));
    };
    late(before.drain(..5));
    assert_eq!(breaker.state(now), Circuit::Open);
    breaker.half_open();
    late(before.drain(..10));
    assert_eq!(breaker.state(now), Circuit::HalfOpen);
    for _ in 0..3 {
        probe(&breaker, now).settle(now, OK);
    }
    late(before.drain(..));
    assert_eq!(breaker.state(now), Circuit::Closed);
    for _ in 0..5 {
        let admission = breaker.admit(now);
        breaker.settle(now, admission, BAD);
    }
    assert_eq!(breaker.state(now), Circuit::Open, "those of now count");
}

#[tokio::test(start_paused = true)]
async fn no_more_circuits_open_than_their_share() {
    let now = Instant::now();
    for (endpoints, percent, opens) in
        [(1, 50, 0), (2, 50, 1), (3, 50, 1), (5, 50, 2), (1, 100, 1), (4, 0, 0), (0, 100, 0)]
    {
        let share = Arc::new(OpenShare::default());
        share.set(percent, endpoints, 0);
        let breakers: Vec<_> = (0..endpoints).map(|_| Breaker::within(policy(), Arc::clone(&share))).collect();
        for breaker in &breakers {
            (0..20).for_each(|_| breaker.record(now, BAD));
        }
        let open = || breakers.iter().filter(|breaker| breaker.state(now) == Circuit::Open).count();
        assert_eq!((open(), share.open()), (opens, opens), "{percent} % of {endpoints}");
        // One that closes makes way for another that still fails.
        if let Some(first) = breakers.iter().find(|breaker| breaker.state(now) == Circuit::Open) {
            first.half_open();
            assert_eq!(share.open(), opens, "half-open counts");
            (0..3).for_each(|_| probe(first, now).settle(now, OK));
            assert_eq!(share.open(), opens - 1);
            breakers.iter().for_each(|breaker| breaker.record(now, BAD));
            assert_eq!(open(), opens.min(endpoints - 1), "the next failure of another opens its circuit");
        }
        // Endpoints that are gone hold nothing, although calls to them go on.
        breakers.iter().for_each(Breaker::retire);
        assert_eq!(share.open(), 0);
        breakers.iter().for_each(|breaker| (0..20).for_each(|_| breaker.record(now, BAD)));
        assert_eq!(share.open(), 0, "what they come to takes no part of it either");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_policy_keeps_the_state() {
    let now = Instant::now();
    let breaker = opened(now);
    breaker.update(CircuitBreaker { probes: 1, ..policy() });
    assert_eq!(breaker.state(now), Circuit::Open);
    breaker.half_open();
    probe(&breaker, now).settle(now, OK);
    assert_eq!(breaker.state(now), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_told_once() {
    let (told, changes) = std::sync::mpsc::channel();
    let now = Instant::now();
    let breaker = Breaker::new(CircuitBreaker { probes: 1, ..policy() }).on_change(move |circuit| {
        let _ = told.send(circuit);
    });
    for _ in 0..9 {
        breaker.record(now, BAD);
    }
    breaker.half_open();
    breaker.half_open();
    probe(&breaker, now).settle(now, OK);
    let changes: Vec<_> = changes.try_iter().collect();
    assert_eq!(changes, [Circuit::Open, Circuit::HalfOpen, Circuit::Closed]);
}

#[test]
fn threads_never_hold_more_probes_than_allowed() {
    let now = Instant::now();
    let breaker = opened(now);
    breaker.half_open();
    let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    if let Admission::Probe(permit) = breaker.admit(now) {
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert_eq!(breaker.0.lock().probing, 0);
}

#[test]
fn threads_lose_no_count_of_the_window() {
    let now = Instant::now();
    let window = Window::new(now);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let window = &window;
            scope.spawn(move || (0..5_000).for_each(|_| window.record(now, MINUTE, thread == 0)));
        }
    });
    assert_eq!(window.sum(now, MINUTE), (15_000, 5_000));
}

/// The breaker in the most naive way: a list of everything that was recorded.
struct Model {
    policy: CircuitBreaker,
    circuit: Circuit,
    in_a_row: u32,
    calls: Vec<(u64, bool)>,
    until: u64,
    round: u32,
    /// The rounds of calls under way, and whether they keep others from probing.
    probes: Vec<(u32, bool)>,
    places_until: u64,
    succeeded: u32,
}

impl Model {
    fn turn(&mut self, now: u64) {
        if self.circuit == Circuit::Open && now >= self.until {
            self.half_open();
        }
        if self.circuit == Circuit::HalfOpen && self.places() > 0 && now >= self.places_until {
            self.probes.iter_mut().for_each(|probe| probe.1 = false);
        }
    }

    fn places(&self) -> u32 {
        self.probes.iter().filter(|probe| **probe == (self.round, true)).count() as u32
    }

    fn half_open(&mut self) {
        (self.circuit, self.succeeded) = (Circuit::HalfOpen, 0);
        self.round += 1;
    }

    fn open(&mut self, now: u64) {
        self.circuit = Circuit::Open;
        self.until = now + self.policy.open_for.as_millis() as u64;
        self.calls.clear();
        self.in_a_row = 0;
        self.round += 1;
    }

    fn record(&mut self, now: u64, failed: bool) {
        // An open circuit whose time has come turns when it is asked, not when a late result comes.
        if self.circuit != Circuit::Closed {
            return;
        }
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        self.calls.push((now, failed));
        let mut open = self.policy.consecutive_failures.is_some_and(|limit| self.in_a_row >= limit);
        if let Some(rate) = self.policy.failure_rate {
            let bucket = rate.window.as_millis() as u64 / 10;
            let live = self.calls.iter().filter(|(at, _)| now / bucket - at / bucket < 10);
            let (all, bad) = live.fold((0, 0), |(all, bad), (_, failed)| (all + 1, bad + u32::from(*failed)));
            open |=
                bad > 0 && all >= rate.min_calls && f64::from(bad) / f64::from(all) >= f64::from(rate.percent) / 100.0;
        }
        if open {
            self.open(now);
        }
    }

    fn settle(&mut self, now: u64, round: u32, outcome: Outcome) {
        if !outcome.is_judged() || round != self.round || self.circuit == Circuit::Open {
            return;
        }
        if self.circuit == Circuit::Closed {
            return self.record(now, outcome.is_failure());
        }
        if outcome.is_failure() {
            self.open(now);
        } else {
            self.succeeded += 1;
            if self.succeeded >= self.policy.probes {
                self.circuit = Circuit::Closed;
                self.round += 1;
            }
        }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![4 => Just(OK), 4 => Just(BAD), 1 => Just(Outcome::Cancelled), 1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Caller(Code::DeadlineExceeded))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn it_does_what_a_naive_model_does(
        consecutive in proptest::option::of(1_u32..6),
        rate in proptest::option::of((1_u32..=100, 1_u32..8)),
        probes in 1_u32..4,
        steps in proptest::collection::vec((0_u8..7, 0_u64..700, outcome()), 1..120),
    ) {
        let failure_rate =
            rate.map(|(percent, min_calls)| FailureRate { percent, min_calls, window: Duration::from_secs(1) });
        let open_for = Duration::from_millis(1_500);
        let policy =
            CircuitBreaker { consecutive_failures: consecutive, failure_rate, open_for, probes, ..CircuitBreaker::default() };
        let breaker = Breaker::new(policy.clone());
        let base = breaker.0.window.base();
        let mut model = Model {
            policy, circuit: Circuit::Closed, in_a_row: 0, calls: Vec::new(), until: 0, round: 0, probes: Vec::new(),
            places_until: 0, succeeded: 0,
        };
        let (mut at, mut permits) = (0, Vec::new());
        for (step, pass, outcome) in steps {
            let now = base + Duration::from_millis(at);
            match step {
                0 => at += pass,
                1..=3 => {
                    breaker.record(now, outcome);
                    if outcome.is_judged() {
                        model.record(at, outcome.is_failure());
                    }
                }
                4 => {
                    model.turn(at);
                    let admission = breaker.admit(now);
                    let out = model.places();
                    match (model.circuit, admission) {
                        (Circuit::Closed, admission @ Admission::Closed { .. }) => {
                            permits.push(admission);
                            model.probes.push((model.round, false));
                        }
                        (Circuit::Open, Admission::Rejected { until }) => {
                            prop_assert_eq!(until, Some(base + Duration::from_millis(model.until)));
                        }
                        (Circuit::HalfOpen, Admission::Rejected { until: None }) => prop_assert!(out >= probes),
                        (Circuit::HalfOpen, admission @ Admission::Probe(_)) => {
                            prop_assert!(out < probes);
                            if out == 0 {
                                model.places_until = at + 1_500;
                            }
                            permits.push(admission);
                            model.probes.push((model.round, true));
                        }
                        (circuit, admission) => prop_assert!(false, "{:?} {:?}", circuit, admission),
                    }
                }
                5 => if !permits.is_empty() {
                    let index = pass as usize % permits.len();
                    let (admission, (round, _)) = (permits.remove(index), model.probes.remove(index));
                    breaker.settle(now, admission, outcome);
                    model.settle(at, round, outcome);
                },
                _ => {
                    breaker.half_open();
                    if model.circuit == Circuit::Open {
                        model.half_open();
                    }
                }
            }
            let now = base + Duration::from_millis(at);
            model.turn(at);
            prop_assert_eq!(breaker.state(now), model.circuit);
        }
    }
}

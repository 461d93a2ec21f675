//! What a load makes of the ends of calls.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, advance};
use tonic::Code;

use super::{Load, OK};
use crate::outcome::Outcome;

const INTERNAL: Outcome = Outcome::Status(Code::Internal);

fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

fn latency(load: &Load) -> u128 {
    load.latency(Instant::now()).as_millis()
}

fn rate(load: &Load) -> f32 {
    load.failure_rate(Instant::now())
}

#[tokio::test(start_paused = true)]
async fn latency_takes_a_peak_at_once_and_forgets_it_by_and_by() {
    let load = Load::new();
    load.record(Instant::now(), millis(1), OK);
    load.record(Instant::now(), millis(100), OK);
    assert_eq!(latency(&load), 100);
    advance(Duration::from_secs(1)).await;
    assert_eq!(latency(&load), 36);
    load.record(Instant::now(), millis(1), OK);
    assert!(latency(&load) < 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_counts_only_as_at_least() {
    for outcome in [Outcome::Cancelled, Outcome::TimedOut, INTERNAL, Outcome::Status(Code::NotFound)] {
        let load = Load::new();
        load.record(Instant::now(), millis(10), OK);
        advance(Duration::from_millis(1)).await;
        load.record(Instant::now(), millis(1), outcome);
        assert_eq!(latency(&load), 9, "{outcome:?}: faded by a millisecond, and no more");
        load.record(Instant::now(), millis(50), outcome);
        assert_eq!(latency(&load), 50, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c5_without_a_sample_of_latency_only_the_outcome_counts() {
    let load = Load::new();
    load.record(Instant::now(), millis(1), OK);
    load.record(Instant::now(), None, OK);
    load.record(Instant::now(), None, INTERNAL);
    assert_eq!(latency(&load), 1);
    assert!(rate(&load) > 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_did_counts_not_at_all() {
    let load = Load::new();
    load.record(Instant::now(), millis(1), OK);
    load.record(Instant::now(), millis(9_000), Outcome::Caller(Code::DeadlineExceeded));
    load.record(Instant::now(), None, Outcome::Caller(Code::ResourceExhausted));
    assert_eq!((latency(&load), rate(&load)), (1, 0.0));
}

#[tokio::test(start_paused = true)]
async fn c3_a_refusal_and_an_exhausted_server_count_as_failures_and_are_forgotten_again() {
    for exhausted in [false, true] {
        let load = Load::new();
        match exhausted {
            true => load.record(Instant::now(), millis(0), Outcome::Status(Code::ResourceExhausted)),
            false => load.refused(Instant::now()),
        }
        assert_eq!(rate(&load), 1.0, "the first call of all");
        assert_eq!(latency(&load), 0, "a refusal says nothing of latency");
        advance(Duration::from_secs(2)).await;
        assert!((0.36..0.38).contains(&rate(&load)));
        advance(Duration::from_secs(8)).await;
        assert!(rate(&load) < 0.01);
    }
}

#[tokio::test(start_paused = true)]
async fn c4_a_failure_among_many_calls_counts_little_and_for_a_short_time() {
    let load = Load::new();
    for call in 0..1_000 {
        advance(Duration::from_millis(3)).await;
        let outcome = if call == 500 { INTERNAL } else { OK };
        load.record(Instant::now(), millis(1), outcome);
        match call {
            500 => assert!((0.01..=0.03).contains(&rate(&load)), "{}", rate(&load)),
            700.. => assert_eq!(rate(&load), 0.0),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_comes_near_to_the_part_of_calls_that_fail() {
    let load = Load::new();
    let mut sum = 0.0;
    for call in 0..2_000 {
        advance(Duration::from_millis(10)).await;
        load.record(Instant::now(), millis(1), if call % 4 == 0 { INTERNAL } else { OK });
        if call >= 1_000 {
            sum += rate(&load);
        }
    }
    assert!((0.23..0.27).contains(&(sum / 1_000.0)), "{}", sum / 1_000.0);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_begins_without_a_past() {
    let load = Load::new();
    load.record(Instant::now(), millis(100), OK);
    load.refused(Instant::now());
    load.begin();
    load.forget();
    assert_eq!((latency(&load), rate(&load), load.in_flight()), (0, 0.0, 1));
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![
        OK,
        INTERNAL,
        Outcome::Status(Code::NotFound),
        Outcome::Status(Code::ResourceExhausted),
        Outcome::TimedOut,
        Outcome::Cancelled,
        Outcome::Caller(Code::InvalidArgument),
    ])
}

proptest! {
    #[test]
    fn a_rate_stays_within_bounds_and_latency_below_the_worst_sample(
        calls in prop::collection::vec((0_u64..3_000, prop::option::of(0_u64..2_000), outcome()), 1..200),
    ) {
        let load = Load::new();
        let mut now = Instant::now();
        let mut worst = 0;
        for (after, waited, outcome) in calls {
            now += Duration::from_millis(after);
            let before = load.failure_rate(now);
            load.record(now, waited.and_then(millis), outcome);
            worst = worst.max(waited.unwrap_or(0));
            let after = load.failure_rate(now);
            prop_assert!((0.0..=1.0).contains(&after));
            match outcome {
                OK => prop_assert!(after <= before + 1e-6),
                INTERNAL => prop_assert!(after > before || before > 0.999),
                Outcome::Cancelled | Outcome::Caller(_) => prop_assert_eq!(after, before),
                _ => {}
            }
            // The average is a float.
            prop_assert!(load.latency(now) <= Duration::from_millis(worst) + Duration::from_micros(1));
        }
    }
}

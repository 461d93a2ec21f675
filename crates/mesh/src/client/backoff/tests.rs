use std::time::Duration;

use super::Backoff;
use crate::random::Random;

/// The defaults without jitter: exact.
fn steady() -> Backoff {
    Backoff { jitter: 0.0, ..Backoff::default() }
}

#[test]
fn waits_grow_from_1_s_by_1_6_up_to_120_s() {
    let random = Random::seeded(1);
    let millis = |failures| steady().wait(failures, &random).as_millis();
    assert_eq!([millis(1), millis(2), millis(3)], [1000, 1600, 2560]);
    assert_eq!([millis(11), millis(12), millis(1_000_000)], [109_951, 120_000, 120_000]);
}

#[test]
fn jitter_is_twenty_percent_to_both_sides_and_comes_after_the_cap() {
    let random = Random::seeded(7);
    let waits: Vec<_> = (0..1000).map(|_| Backoff::default().wait(100, &random).as_secs_f64()).collect();
    let (least, most) = waits.iter().fold((f64::MAX, f64::MIN), |(low, high), wait| (low.min(*wait), high.max(*wait)));
    assert!((96.0..98.0).contains(&least), "{least}");
    assert!((142.0..144.0).contains(&most), "{most}");
}

#[test]
fn the_same_seed_gives_the_same_waits() {
    let waits = |seed| {
        let random = Random::seeded(seed);
        (1..20).map(|failures| Backoff::default().wait(failures, &random)).collect::<Vec<_>>()
    };
    assert_eq!(waits(3), waits(3));
    assert_ne!(waits(3), waits(4));
}

#[test]
fn trap_10_growth_beyond_every_duration_does_not_overflow() {
    let random = Random::seeded(1);
    let wild = |initial, multiplier, max| Backoff { initial, multiplier, jitter: 0.2, max }.wait(u32::MAX, &random);
    let second = Duration::from_secs(1);
    assert!(wild(second, f64::MAX, 120 * second) <= 144 * second);
    assert!(wild(second, f64::INFINITY, 120 * second) <= 144 * second);
    assert!(wild(second, f64::NAN, 120 * second) <= 144 * second);
    assert!(wild(second, -2.0, 120 * second) <= 144 * second);
    assert!(wild(Duration::ZERO, f64::INFINITY, 120 * second) <= 144 * second);
    assert!(wild(Duration::MAX, 1e300, Duration::MAX) > 120 * second);
    assert_eq!(wild(Duration::ZERO, 2.0, Duration::ZERO), Duration::ZERO);
}

#[test]
fn the_first_wait_is_for_no_failure_too() {
    assert_eq!(steady().wait(0, &Random::seeded(1)), Duration::from_secs(1));
}

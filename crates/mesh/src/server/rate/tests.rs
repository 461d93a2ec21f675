//! The buckets, held against a model in numbers without bounds.

mod debt;
mod limits;
mod local;
mod model;
mod plans;
mod script;
mod share;
mod unfit;

use std::time::Duration;

use super::bucket::Bucket;
use super::rate::Rate;
use crate::random::Random;
use model::Model;

const OPERATIONS: usize = 1_000_000;

fn rates() -> Vec<Rate> {
    let day = Duration::from_secs(24 * 60 * 60);
    let micros = Duration::from_micros;
    [
        Rate::new(1, 1, day),
        Rate::new(10, 10, day),
        Rate::new(100_000, 1, day),
        Rate::per_second(100, 10.0),
        Rate::per_second(1000, 50_000.0),
        Rate::per_second(7, 3e9),
        Rate::per_second(3, 1.0 / 3.0),
        Rate::new(13, 7, micros(11)),
        Rate::new(1, 4_294_967_291, micros(1)),
        // As large as they get: burst × period just below 2⁵².
        Rate::new(4_503_599_627_370_495, 1, micros(1)),
        Rate::new(1, 3, micros(4_503_599_627_370_495)),
        Rate::new(4099, 101, micros(1_098_706_910_311)),
        Rate::new(u64::from(u32::MAX), 1, Duration::from_millis(1_048_576)),
    ]
    .into_iter()
    .map(Result::unwrap)
    .collect()
}

/// A time after `now`, or before it: by nothing, by a little, by about what a bucket takes to fill, by a year.
fn another_time(random: &Random, rate: &Rate, now: u64) -> u64 {
    const YEAR: u64 = 365 * 24 * 3600 * 1_000_000;
    let token = (rate.cost(1) / rate.count() + 1).saturating_mul(rate.unit());
    let full = (rate.capacity() / rate.count() + 1).saturating_mul(rate.unit());
    let span = match random.below(8) {
        0 | 1 => 0,
        2 | 3 => random.below(10) as u64,
        4 => random.next_u64() % token.saturating_mul(2),
        5 => full.saturating_add(random.next_u64() % 3).saturating_sub(random.next_u64() % 3),
        6 => random.next_u64() % full.saturating_mul(2).max(1),
        _ => random.next_u64() % YEAR,
    };
    let span = span.min(YEAR);
    let later = if random.below(12) == 0 { now.saturating_sub(span) } else { now + span };
    // As the clock of a server: whole seconds and microseconds, below 2⁵².
    if (1_000_000_000_000_000..4_000_000_000_000_000).contains(&later) { later } else { 1_700_000_000_000_000 + span }
}

/// How many tokens to ask for: mostly one, now and then more than there can be.
fn some_tokens(random: &Random, rate: &Rate) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => random.next_u64() % (rate.burst() + 2),
        _ => 1,
    }
}

/// What a bucket is charged with first, in token·units: mostly nothing, now and then more than it holds.
fn some_debt(random: &Random, rate: &Rate) -> u64 {
    if random.below(12) == 0 { random.next_u64() % (rate.capacity() + 2) } else { 0 }
}

#[test]
fn rl_1_a_million_operations_in_process_agree_with_the_model() {
    let random = Random::seeded(1);
    let rates = rates();
    let mut buckets: Vec<(Option<Bucket>, Model)> = rates.iter().map(|rate| (None, Model::new(rate))).collect();
    let mut now = 1_700_000_000_000_000;
    let (mut admitted, mut denied) = (0_u64, 0_u64);
    for operation in 0..OPERATIONS {
        let place = random.below(rates.len());
        let rate = &rates[place];
        let (stored, model) = &mut buckets[place];
        now = another_time(&random, rate, now);
        let (at, tokens) = (now / rate.unit(), some_tokens(&random, rate));
        let (verdict, left) = Bucket::filled(rate, *stored, at).ask(rate, tokens, at);
        let reply = model.take(tokens, at);
        let context = || format!("operation {operation}: {tokens} of {rate:?} at {at}: {verdict:?}, {reply:?}");
        assert_eq!(verdict.allowed, reply.allowed, "{}", context());
        assert_eq!(u128::from(left.level), reply.level, "{}", context());
        assert_eq!(u128::from(verdict.reset), reply.reset, "{}", context());
        if tokens <= rate.burst() {
            assert_eq!(u128::from(verdict.retry_after), reply.retry_after, "{}", context());
        }
        // What a full bucket was is as good as nothing, and so is a denial: both sides may forget it.
        let full = left.level == rate.capacity();
        let stays = !verdict.allowed && !reply.changed;
        *stored = if full {
            None
        } else if stays {
            *stored
        } else {
            Some(left)
        };
        if verdict.allowed { admitted += 1 } else { denied += 1 }
    }
    assert!(admitted > 100_000 && denied > 100_000, "{admitted} admitted, {denied} denied: both have to be tried");
}

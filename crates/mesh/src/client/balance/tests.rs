use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, advance};
use tonic::Code;

use super::*;
use crate::client::endpoint::Endpoint;
use crate::outcome::Outcome;
use crate::random::Random;

mod load;
mod selection;
mod simulation;

fn candidates(count: u16) -> Vec<Candidate> {
    (1..=count)
        .map(|port| Candidate::new(Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port))), Load::new()))
        .collect()
}

fn picks(picker: &dyn Picker, ready: &[Candidate], count: usize) -> Vec<usize> {
    let headers = HeaderMap::new();
    let mut seen = vec![0; ready.len()];
    for _ in 0..count {
        let call = PickArgs { method: "/test.Service/Method", headers: &headers, now: Instant::now() };
        seen[picker.pick(&call, ready) % ready.len()] += 1;
    }
    seen
}

const OK: Outcome = Outcome::Status(Code::Ok);

#[test]
fn round_robin_takes_each_in_turn() {
    let ready = candidates(3);
    assert_eq!(picks(&RoundRobin::new(&Random::seeded(1)), &ready, 300), [100, 100, 100]);
}

#[test]
fn a48_choice_count_is_clamped_to_ten() {
    let random = Random::seeded(9);
    picks(&LeastRequest::new(50, random.clone()), &candidates(2), 1);
    let same = Random::seeded(9);
    let drawn: Vec<_> = (0..11).map(|_| same.next_u64()).collect();
    assert_eq!(random.next_u64(), drawn[10]);
}

#[test]
fn a48_samples_with_replacement() {
    // With two choices of two endpoints, both draws hit the busy one in a quarter of the picks.
    let ready = candidates(2);
    ready[0].load().begin();
    let seen = picks(&LeastRequest::new(2, Random::seeded(7)), &ready, 10_000);
    assert!((2_300..2_700).contains(&seen[0]), "{seen:?}");
}

#[test]
fn a48_replaces_the_candidate_only_by_a_strictly_better_one() {
    // All are equal: the first draw wins, so the first draws of the same seed tell the picks.
    let ready = candidates(5);
    let headers = HeaderMap::new();
    let picker = LeastRequest::new(3, Random::seeded(3));
    let same = Random::seeded(3);
    for _ in 0..100 {
        let first = same.below(5);
        let (_, _) = (same.below(5), same.below(5));
        let call = PickArgs { method: "", headers: &headers, now: Instant::now() };
        assert_eq!(picker.pick(&call, &ready), first);
    }
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_avoids_a_slow_endpoint() {
    let ready = candidates(3);
    for (index, candidate) in ready.iter().enumerate() {
        let took = if index == 1 { Duration::from_millis(200) } else { Duration::from_millis(1) };
        candidate.load().record(Instant::now(), Some(took), OK);
    }
    assert_eq!(picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000)[1], 0);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_avoids_an_endpoint_that_does_not_answer() {
    let ready = candidates(3);
    for candidate in &ready {
        candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    }
    for _ in 0..5 {
        ready[2].load().begin();
    }
    assert_eq!(picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000)[2], 0);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_does_not_run_to_a_server_that_fails_fast() {
    let ready = candidates(3);
    for candidate in &ready[1..] {
        candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    }
    let failed = Outcome::Status(Code::Unavailable);
    ready[0].load().record(Instant::now(), Some(Duration::from_micros(10)), failed);
    assert_eq!(picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000)[0], 0);
}

#[tokio::test(start_paused = true)]
async fn c4_peak_ewma_passes_over_an_endpoint_in_proportion_to_its_rate_of_failure() {
    let share = |failures: usize| {
        let ready = candidates(2);
        for candidate in &ready {
            candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
        }
        for _ in 0..failures {
            ready[0].load().record(Instant::now(), None, Outcome::Status(Code::Internal));
        }
        picks(&PeakEwma::new(Random::seeded(1)), &ready, 10_000)[0]
    };
    // Rates of 0, 0.02, 0.10 and 0.40: in half of the pairs it is the first choice, and taken by (1 - rate)^4.
    let shares = [share(0), share(1), share(5), share(25)];
    for (share, expected) in shares.into_iter().zip([5_000, 4_600, 3_300, 650]) {
        assert!(share.abs_diff(expected) < 250, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_picks_among_all_when_all_fail_alike() {
    let ready = candidates(3);
    for candidate in &ready {
        candidate.load().refused(Instant::now());
    }
    let seen = picks(&PeakEwma::new(Random::seeded(1)), &ready, 3_000);
    assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_comes_back_to_an_endpoint_after_its_peak_faded() {
    let ready = candidates(2);
    ready[0].load().record(Instant::now(), Some(Duration::from_millis(200)), OK);
    ready[1].load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    assert_eq!(picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000)[0], 0);
    advance(Duration::from_secs(6)).await;
    ready[1].load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    let seen = picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000);
    assert!(seen[0] > 0, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_comes_back_within_seconds_to_an_endpoint_that_failed() {
    let ready = candidates(2);
    ready[0].load().record(Instant::now(), Some(Duration::from_millis(1)), Outcome::Status(Code::Unavailable));
    advance(Duration::from_secs(8)).await;
    ready[1].load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    assert!(picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000)[0] > 0);
}

/// Picks one endpoint after the other, whose calls all stay in flight.
fn begin(picker: &PeakEwma, ready: &[Candidate], count: usize) {
    let headers = HeaderMap::new();
    for _ in 0..count {
        let call = PickArgs { method: "", headers: &headers, now: Instant::now() };
        ready[picker.pick(&call, ready)].load().begin();
    }
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_sends_one_call_to_a_new_endpoint_until_it_is_answered() {
    let ready = candidates(3);
    for candidate in &ready {
        candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    }
    ready[0].load().forget();
    let picker = PeakEwma::new(Random::seeded(1));
    begin(&picker, &ready, 100);
    assert_eq!(ready[0].load().in_flight(), 1);
    ready[0].load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    begin(&picker, &ready, 20);
    assert!(ready[0].load().in_flight() > 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_that_never_answers_gets_few_calls_and_no_more_than_others_have() {
    let ready = candidates(3);
    ready[0].load().forget();
    let picker = PeakEwma::new(Random::seeded(1));
    for seconds in [0, 1, 4] {
        advance(Duration::from_secs(seconds)).await;
        for candidate in &ready[1..] {
            candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
        }
        begin(&picker, &ready, 200);
        let in_flight = ready[0].load().in_flight();
        let most = if seconds == 4 { ready[1].load().in_flight().max(ready[2].load().in_flight()) + 1 } else { 16 };
        assert!(in_flight <= most, "{in_flight} calls after {seconds} s more");
    }
}

/// Watches give no latency and never end; nothing else is known of the endpoint.
#[tokio::test(start_paused = true)]
async fn an_endpoint_with_open_streams_gets_calls_although_nothing_is_known_of_its_latency() {
    let ready = candidates(2);
    for candidate in &ready {
        for _ in 0..100 {
            candidate.load().begin();
        }
    }
    advance(Duration::from_secs(10)).await;
    ready[1].load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    let seen = picks(&PeakEwma::new(Random::seeded(1)), &ready, 1_000);
    assert!((400..=600).contains(&seen[0]), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_frozen_endpoint_gets_no_more_calls_than_others_have_while_its_latency_fades() {
    let ready = candidates(2);
    for candidate in &ready {
        candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
        for _ in 0..10 {
            candidate.load().begin();
        }
    }
    // One answers, the other one does not.
    for _ in 0..6 {
        advance(Duration::from_secs(1)).await;
        ready[1].load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    }
    let picker = PeakEwma::new(Random::seeded(1));
    for _ in 0..100 {
        let headers = HeaderMap::new();
        let call = PickArgs { method: "", headers: &headers, now: Instant::now() };
        let load = ready[picker.pick(&call, &ready)].load();
        load.begin();
        if !std::ptr::eq(load, ready[0].load()) {
            load.end();
        }
    }
    assert!(ready[0].load().in_flight() <= 12, "{ready:?}");
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_spreads_equal_endpoints_evenly() {
    let ready = candidates(4);
    for candidate in &ready {
        candidate.load().record(Instant::now(), Some(Duration::from_millis(1)), OK);
    }
    let seen = picks(&PeakEwma::new(Random::seeded(1)), &ready, 8_000);
    assert!(seen.iter().all(|count| (1_700..2_300).contains(count)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_gives_more_to_more_weight() {
    let load = || {
        let load = Load::new();
        load.record(Instant::now(), Some(Duration::from_millis(1)), OK);
        load
    };
    let endpoint = |port| Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)));
    let ready = [Candidate::new(endpoint(1), load()), Candidate::new(endpoint(2).weight(4), load())];
    // Calls stay in flight, as they do under load.
    begin(&PeakEwma::new(Random::seeded(1)), &ready, 100);
    assert!((15..=25).contains(&ready[0].load().in_flight()), "{ready:?}");
}

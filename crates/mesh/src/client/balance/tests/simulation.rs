//! Many calls to a few servers that misbehave, in simulated time: what the picker, the loads and the order of further
//! attempts come to together.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Code;

use super::{Candidate, OK, PeakEwma, PickArgs, candidates, select};
use crate::outcome::Outcome;
use crate::random::Random;

/// How a server treats an attempt.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(Duration),
    /// REFUSED_STREAM at once.
    Refuses,
    /// This status at once.
    Fails(Code),
    /// INTERNAL to every second attempt, by chance; an answer after a millisecond to the others.
    FailsHalf,
    /// Takes it and never answers.
    Freezes,
}

const QUICK: Does = Does::Answers(Duration::from_millis(1));
const SLOW: Does = Does::Answers(Duration::from_millis(200));

/// An attempt under way.
struct Attempt {
    server: usize,
    started: Duration,
    /// None: REFUSED_STREAM.
    outcome: Option<Outcome>,
    tried: Vec<usize>,
}

/// Calls at an even rate, each repeated once at once if it was refused, as transparent retries are.
struct Simulation {
    does: Vec<Does>,
    ready: Vec<Candidate>,
    picker: PeakEwma,
    random: Random,
    began: Instant,
    now: Duration,
    /// By the time of their end.
    under_way: BTreeMap<(Duration, u64), Attempt>,
    number: u64,
    /// Attempts of each server, and how calls ended, since the last look.
    attempts: Vec<u32>,
    ok: u32,
    failed: u32,
}

impl Simulation {
    fn new(does: &[Does]) -> Self {
        Self {
            does: does.to_vec(),
            ready: candidates(does.len() as u16),
            picker: PeakEwma::new(Random::seeded(11)),
            random: Random::seeded(12),
            began: Instant::now(),
            now: Duration::ZERO,
            under_way: BTreeMap::new(),
            number: 0,
            attempts: vec![0; does.len()],
            ok: 0,
            failed: 0,
        }
    }

    /// Goes on for `time`, with a call every millisecond, and counts anew.
    fn run(&mut self, time: Duration) {
        (self.ok, self.failed) = (0, 0);
        self.attempts.fill(0);
        let end = self.now + time;
        while self.now < end {
            while let Some(first) = self.under_way.first_entry()
                && first.key().0 <= self.now
            {
                let ((at, _), attempt) = first.remove_entry();
                self.end(at, attempt);
            }
            self.attempt(self.now, Vec::new());
            self.now += Duration::from_millis(1);
        }
    }

    fn attempt(&mut self, at: Duration, tried: Vec<usize>) {
        let headers = HeaderMap::new();
        let call = PickArgs { method: "", headers: &headers, now: self.began + at };
        let is_tried = (!tried.is_empty()).then_some(|index: usize| tried.contains(&index));
        let Some(server) = select(&self.picker, &call, &self.ready, is_tried, Some) else { return };
        self.ready[server].load().begin();
        self.attempts[server] += 1;
        let (takes, outcome) = match self.does[server] {
            Does::Answers(time) => (time, Some(OK)),
            Does::Refuses => (Duration::ZERO, None),
            Does::Fails(code) => (Duration::ZERO, Some(Outcome::Status(code))),
            Does::FailsHalf => match self.random.below(2) {
                0 => (Duration::ZERO, Some(Outcome::Status(Code::Internal))),
                _ => (Duration::from_millis(1), Some(OK)),
            },
            Does::Freezes => (Duration::from_secs(1_000), Some(Outcome::Cancelled)),
        };
        self.number += 1;
        self.under_way.insert((at + takes, self.number), Attempt { server, started: at, outcome, tried });
    }

    fn end(&mut self, at: Duration, attempt: Attempt) {
        let load = self.ready[attempt.server].load();
        load.end();
        let now = self.began + at;
        let Some(outcome) = attempt.outcome else {
            load.refused(now);
            if attempt.tried.is_empty() {
                self.attempt(at, vec![attempt.server]);
            } else {
                self.failed += 1;
            }
            return;
        };
        load.record(now, Some(at - attempt.started), outcome);
        match outcome {
            OK => self.ok += 1,
            _ => self.failed += 1,
        }
    }

    /// The part of the attempts that went to a server.
    fn share(&self, server: usize) -> f64 {
        f64::from(self.attempts[server]) / f64::from(self.attempts.iter().sum::<u32>())
    }

    fn success(&self) -> f64 {
        f64::from(self.ok) / f64::from(self.ok + self.failed)
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn equal_servers_share_evenly() {
    let mut simulation = Simulation::new(&[QUICK, QUICK]);
    simulation.run(seconds(10));
    assert!((0.45..=0.55).contains(&simulation.share(0)), "{}", simulation.share(0));
    assert_eq!(simulation.failed, 0);
}

#[test]
fn c3_calls_succeed_although_two_of_three_servers_refuse() {
    let mut simulation = Simulation::new(&[Does::Refuses, QUICK, Does::Refuses]);
    simulation.run(seconds(10));
    assert!(simulation.success() >= 0.997, "{}", simulation.success());
    let refused = simulation.share(0) + simulation.share(2);
    assert!(refused < 0.05, "{refused}");
    assert!(simulation.attempts[0] > 2 && simulation.attempts[2] > 2, "each is tried again now and then");
}

#[test]
fn c3_a_server_that_fails_at_once_attracts_no_calls() {
    for code in [Code::ResourceExhausted, Code::Unavailable, Code::Internal] {
        let mut simulation = Simulation::new(&[Does::Fails(code), QUICK, QUICK]);
        simulation.run(seconds(10));
        assert!(simulation.share(0) < 0.01, "{code:?}: {}", simulation.share(0));
        assert!(simulation.attempts[0] > 2, "it is tried again now and then");
    }
}

#[test]
fn a_server_that_fails_half_of_its_calls_gets_few() {
    let mut simulation = Simulation::new(&[Does::FailsHalf, QUICK, QUICK]);
    simulation.run(seconds(10));
    assert!(simulation.share(0) < 0.08, "{}", simulation.share(0));
}

#[test]
fn when_all_fail_alike_none_is_left_out() {
    let mut simulation = Simulation::new(&[Does::FailsHalf; 3]);
    simulation.run(seconds(20));
    for server in 0..3 {
        assert!(simulation.share(server) > 0.15, "{:?}", simulation.attempts);
    }
    let mut simulation = Simulation::new(&[Does::Fails(Code::Unavailable); 3]);
    simulation.run(seconds(20));
    for server in 0..3 {
        assert!(simulation.share(server) > 0.15, "{:?}", simulation.attempts);
    }
}

#[test]
fn a_slow_server_gets_few_calls() {
    let mut simulation = Simulation::new(&[QUICK, SLOW, QUICK]);
    simulation.run(seconds(20));
    assert!(simulation.share(1) < 0.02, "{}", simulation.share(1));
    assert!(simulation.attempts[1] > 0);
}

#[test]
fn a_server_that_has_recovered_gets_its_share_back_within_ten_seconds() {
    for bad in [Does::Refuses, Does::Fails(Code::Unavailable), Does::FailsHalf, SLOW] {
        let mut simulation = Simulation::new(&[QUICK, bad, QUICK]);
        simulation.run(seconds(20));
        simulation.does[1] = QUICK;
        simulation.run(seconds(10));
        simulation.run(seconds(2));
        assert!((0.28..=0.38).contains(&simulation.share(1)), "{bad:?}: {}", simulation.share(1));
    }
}

#[test]
fn c4_one_failure_costs_a_small_share_for_a_short_time() {
    let mut simulation = Simulation::new(&[QUICK, QUICK, QUICK]);
    simulation.run(seconds(5));
    let now = simulation.began + simulation.now;
    simulation.ready[0].load().record(now, Some(Duration::from_millis(1)), Outcome::Status(Code::Internal));
    simulation.run(seconds(1));
    assert!(simulation.share(0) > 0.25, "{}", simulation.share(0));
}

#[test]
fn a_server_that_freezes_keeps_few_calls() {
    let mut simulation = Simulation::new(&[QUICK, Does::Freezes, QUICK]);
    simulation.run(seconds(30));
    assert!(simulation.attempts[1] < 10, "new, it never answered: {}", simulation.attempts[1]);
    let mut simulation = Simulation::new(&[QUICK, QUICK, QUICK]);
    simulation.run(seconds(5));
    simulation.does[1] = Does::Freezes;
    simulation.run(seconds(30));
    assert!(simulation.attempts[1] < 20, "it had answered quickly: {}", simulation.attempts[1]);
}

//! A seeded simulation of the event log: writers and relays as they are shipped, over a simulated replica set.
//!
//! Each schedule has its seed, from which everything follows: who acts when, which answers are lost, which writes land
//! late, when the primary fails over. `MESHWORK_TEST_SEED=n` runs one alone; `MESHWORK_TEST_FULL=1` runs 10,000 of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod ablations;
mod alarms;
mod bus;
mod checker;
mod client;
mod schedule;
mod server;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use schedule::{Counts, Variant, run};

/// How many schedules a test run has.
const SCHEDULES: u64 = 2_000;
/// How many with `MESHWORK_TEST_FULL`.
const FULL: u64 = 10_000;

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Tells what the schedules met, in a run that passes too: the test harness holds back only what is printed.
fn tell(counts: &Counts) {
    std::io::stderr().write_all(format!("simulation: {counts}\n").as_bytes()).unwrap();
}

/// Runs the seeds on two threads; returns what they met, and the first seed that broke a rule with what it broke.
pub(crate) fn explore(variant: Variant, seeds: std::ops::Range<u64>) -> (Counts, Option<(u64, Vec<String>)>) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (counts, None);
            }
            let (met, violations) = run(variant, seed);
            counts.add(&met);
            if !violations.is_empty() {
                next.store(seeds.end, Ordering::Relaxed);
                return (counts, Some((seed, violations)));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        let mut all = Counts::default();
        let mut broken: Option<(u64, Vec<String>)> = None;
        for thread in threads {
            let (counts, violation) = thread.join().unwrap();
            all.add(&counts);
            broken = broken.into_iter().chain(violation).min_by_key(|(seed, _)| *seed);
        }
        (all, broken)
    })
}

#[test]
fn no_schedule_breaks_a_rule() {
    if let Some(seed) = set("MESHWORK_TEST_SEED") {
        let (counts, violations) = run(Variant::Shipped, seed.parse().unwrap());
        tell(&counts);
        assert_eq!(violations, Vec::<String>::new());
        return;
    }
    let schedules = if set("MESHWORK_TEST_FULL").is_some() { FULL } else { SCHEDULES };
    let (counts, broken) = explore(Variant::Shipped, 0..schedules);
    tell(&counts);
    if let Some((seed, violations)) = broken {
        panic!("MESHWORK_TEST_SEED={seed} breaks: {violations:#?}");
    }
    let Counts { failovers, lost_acks, late_writes, collisions, together, cut, .. } = counts;
    let Counts { lost_acks_of_bus, lost_ends, lost_middles, .. } = counts;
    for (what, met) in [
        ("failovers", failovers),
        ("lost acknowledgements", lost_acks),
        ("late writes", late_writes),
        ("collisions", collisions),
        ("inserts of several commits", together),
        ("inserts that a failover cuts", cut),
        ("lost acknowledgements of the bus", lost_acks_of_bus),
        ("lost ends of the bus", lost_ends),
        ("lost middles of the bus", lost_middles),
    ] {
        assert!(met > 0, "the schedules met no {what}");
    }
}

#[test]
fn a_seed_tells_everything() {
    for seed in [3, 14, 15] {
        assert_eq!(run(Variant::Shipped, seed), run(Variant::Shipped, seed), "seed {seed}");
    }
}

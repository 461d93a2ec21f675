//! The saga as a whole: orders and reservations by the machines that the services run, whatever is late, lost or discarded of
//! what they tell each other.
//!
//! Silence may end at any moment, so the watchdog may ask at any moment. What the services do around the machines (inboxes,
//! outboxes, what the messages hold) is tested where it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod world;

use std::collections::{BTreeSet, HashSet};

use world::{Planted, Step, World};

/// Goes through every course of events, each state once.
#[derive(Default)]
struct Search {
    /// The states from which every course is known to end well.
    done: HashSet<String>,
    /// The states that the course under way has come through.
    met: HashSet<String>,
    /// The steps of the course under way.
    course: Vec<Step>,
    /// How orders and their reservations have ended.
    ends: BTreeSet<(&'static str, &'static str)>,
}

impl Search {
    /// Goes through every course from here. An error tells what went wrong, and leaves the course that led to it.
    fn visit(&mut self, world: &World) -> Result<(), String> {
        let key = world.key();
        if self.done.contains(&key) {
            return Ok(());
        }
        if !self.met.insert(key.clone()) {
            return Err("it goes on for ever".to_owned());
        }
        let steps = world.steps();
        if !steps.iter().any(|step| step.must_come()) {
            world.check_at_rest()?;
            self.ends.extend(world.ends());
        }
        for step in steps {
            self.course.push(step);
            let mut next = world.clone();
            next.take(step)?;
            self.visit(&next)?;
            self.course.pop();
        }
        self.met.remove(&key);
        self.done.insert(key);
        Ok(())
    }
}

/// What goes wrong with one order for the only piece, which another customer may take and give back.
fn problem(planted: Planted) -> String {
    let mut search = Search::default();
    search.visit(&World::new(1, 1, 1).with(planted)).expect_err("a planted bug that harms nothing")
}

#[test]
fn whatever_is_lost_every_order_ends_and_its_reservation_with_it() {
    let mut search = Search::default();
    if let Err(problem) = search.visit(&World::new(1, 1, 1)) {
        panic!("{problem}, after {:?}", search.course);
    }
    let ends = [
        ("CONFIRMED", "ALLOCATED"),
        ("SHIPPED", "SHIPPED"),
        ("REJECTED", "REJECTED"),
        ("REJECTED", "RELEASED"),
        ("REJECTED", "EXPIRED"),
        ("REJECTED", "TOMBSTONE"),
        ("CANCELLED", "RELEASED"),
        ("CANCELLED", "EXPIRED"),
        ("CANCELLED", "TOMBSTONE"),
    ];
    for end in ends {
        assert!(search.ends.contains(&end), "{end:?} is not among {:?}", search.ends);
    }
}

#[test]
fn an_order_without_pieces_ends_too() {
    let mut search = Search::default();
    if let Err(problem) = search.visit(&World::new(1, 0, 0)) {
        panic!("{problem}, after {:?}", search.course);
    }
    assert!(search.ends.iter().all(|(order, _)| ["REJECTED", "CANCELLED"].contains(order)), "{:?}", search.ends);
}

#[test]
fn a_watchdog_for_pending_orders_alone_is_found_out() {
    let problem = problem(Planted::OnlyPendingIsWatched);
    assert!(problem.contains("waits for ever"), "{problem}");
}

#[test]
fn a_shipment_before_the_allocation_is_found_out() {
    let problem = problem(Planted::ShipBeforeAllocation);
    assert!(problem.contains("without its piece"), "{problem}");
}

/// Random courses: all of them would be too many.
#[test]
fn of_orders_for_the_same_pieces_none_gets_anothers_and_all_end() {
    let mut ends = BTreeSet::new();
    for seed in 0..1_000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (mut world, mut course) = (World::new(3, 2, 1), Vec::new());
        loop {
            let steps = world.steps();
            let rests = !steps.iter().any(|step| step.must_come());
            if rests && (steps.is_empty() || dice.bool()) {
                break;
            }
            let step = steps[dice.usize(..steps.len())];
            // Most of what is told arrives.
            if step.is_loss() && dice.u8(..4) > 0 {
                continue;
            }
            course.push(step);
            if let Err(problem) = world.take(step) {
                panic!("seed {seed}: {problem}, after {course:?}");
            }
        }
        if let Err(problem) = world.check_at_rest() {
            panic!("seed {seed}: {problem}, after {course:?}");
        }
        ends.extend(world.ends());
    }
    for end in [("CONFIRMED", "ALLOCATED"), ("SHIPPED", "SHIPPED"), ("REJECTED", "REJECTED"), ("CANCELLED", "RELEASED")]
    {
        assert!(ends.contains(&end), "{end:?} is not among {ends:?}");
    }
}

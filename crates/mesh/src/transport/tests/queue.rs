//! The queue of those who wait for a place, against every order of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use proptest::prelude::*;

use super::super::{WaitQueue, Waiter};

#[derive(Default)]
struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One who waits, and whether it was woken since it last looked.
struct Task {
    number: usize,
    waiter: Waiter,
    woken: Arc<WakeFlag>,
}

/// Places, those who wait for them, and who got one.
#[derive(Default)]
struct World {
    queue: Arc<WaitQueue>,
    places: usize,
    tasks: Vec<Task>,
    come: usize,
    served: Vec<usize>,
    wakes: usize,
}

impl World {
    fn join(&mut self) {
        let (waiter, number) = (self.queue.join().expect("no limit"), self.come);
        self.come += 1;
        self.tasks.push(Task { number, waiter, woken: Arc::default() });
        self.look(self.tasks.len() - 1);
    }

    fn free(&mut self) {
        self.places += 1;
        self.queue.place();
    }

    fn look(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        let places = &mut self.places;
        let found = task.waiter.poll(&waker, |turn| {
            let found = turn && *places > 0;
            *places -= usize::from(found);
            found.then_some(Ok::<_, ()>(()))
        });
        if let Poll::Ready(found) = found {
            found.unwrap();
            self.served.push(self.tasks.remove(index).number);
        }
    }

    /// Lets one who was woken look; whether there was one.
    fn step(&mut self, which: usize) -> bool {
        let woken = |task: &Task| task.woken.0.load(Ordering::Relaxed);
        let all: Vec<_> = (0..self.tasks.len()).filter(|index| woken(&self.tasks[*index])).collect();
        if all.is_empty() {
            return false;
        }
        self.wakes += 1;
        self.look(all[which % all.len()]);
        true
    }
}

#[test]
fn a_place_that_nobody_could_be_told_of_is_for_the_next_who_comes() {
    let mut world = World::default();
    world.join();
    // Two places, and one who waits: it was told of the first, and has not looked yet.
    world.free();
    world.free();
    world.join();
    while world.step(0) {}
    assert_eq!((world.served, world.places), (vec![1, 0], 0));
}

/// Looks and finds nothing; whether it was its turn.
fn has_turn(waiter: &mut Waiter) -> bool {
    let mut has = false;
    let looked = waiter.poll(Waker::noop(), |turn| {
        has = turn;
        None::<Result<(), ()>>
    });
    assert!(looked.is_pending());
    has
}

#[test]
fn places_that_come_while_one_looks_in_vain_are_for_it_and_for_the_next_who_comes() {
    let queue = Arc::<WaitQueue>::default();
    let mut first = queue.join().unwrap();
    let looked = first.poll(Waker::noop(), |_| {
        queue.place();
        queue.place();
        None::<Result<(), ()>>
    });
    assert!(looked.is_pending());
    let mut second = queue.join().unwrap();
    assert!(has_turn(&mut first) && has_turn(&mut second));
}

#[test]
fn who_gives_up_passes_on_its_place_and_the_one_that_came_meanwhile() {
    let queue = Arc::<WaitQueue>::default();
    let [mut first, mut second, mut third] = [(); 3].map(|()| queue.join().unwrap());
    assert!(has_turn(&mut first) && !has_turn(&mut second) && !has_turn(&mut third));
    queue.place();
    let looked = first.poll(Waker::noop(), |turn| {
        queue.place();
        turn.then_some(Err::<(), _>(()))
    });
    assert_eq!(looked, Poll::Ready(Err(())));
    assert!(has_turn(&mut second) && has_turn(&mut third));
}

/// A future that is kept and never polled again holds up nobody.
#[tokio::test(start_paused = true)]
async fn who_does_not_look_when_it_is_its_turn_is_passed_over() {
    let mut world = World::default();
    let queue = Arc::clone(&world.queue);
    let sweeper = tokio::spawn(async move { queue.keep_moving().await });
    (0..4).for_each(|_| world.join());
    world.places = 8;
    world.queue.changed();
    // The first is woken and doesn't look; the others do when they are woken.
    for _ in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(110)).await;
        while let Some(index) = (1..world.tasks.len()).find(|index| world.tasks[*index].woken.0.load(Ordering::Relaxed))
        {
            world.look(index);
        }
    }
    assert_eq!(world.served, [1, 2, 3]);
    // Newcomers neither, however many come.
    (0..3).for_each(|_| world.join());
    assert_eq!(world.served, [1, 2, 3, 4, 5, 6]);
    // It has missed nothing by it.
    world.look(0);
    assert_eq!((world.served.last(), world.places), (Some(&0), 1));
    sweeper.abort();
}

#[test]
fn c11_a_queue_takes_as_many_as_its_limit() {
    let queue = Arc::new(WaitQueue::with_limit(2));
    let (one, _two) = (queue.join().unwrap(), queue.join().unwrap());
    assert!(queue.join().is_none());
    drop(one);
    let _three = queue.join().unwrap();
    assert!(queue.join().is_none());
    assert!(WaitQueue::with_limit(0).is_empty() && Arc::new(WaitQueue::with_limit(0)).join().is_none());
}

#[test]
fn each_place_wakes_one() {
    let mut world = World::default();
    (0..1000).for_each(|_| world.join());
    for place in 0..1000 {
        world.free();
        while world.step(0) {}
        assert_eq!(world.served.last(), Some(&place), "first come, first served");
    }
    assert_eq!(world.wakes, 1000);
}

#[test]
fn a_change_wakes_all_once_and_serves_them_in_order() {
    let mut world = World::default();
    (0..100).for_each(|_| world.join());
    world.places = 40;
    world.queue.changed();
    while world.step(7) {}
    assert_eq!((world.served, world.places), ((0..40).collect::<Vec<_>>(), 0));
    assert!(world.wakes <= 100 + 41, "{}", world.wakes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nobody_waits_while_there_is_a_place(steps in prop::collection::vec((0_u8..6, 0_usize..8), 1..200)) {
        let mut world = World::default();
        for (step, which) in steps {
            match step {
                0 | 1 => world.join(),
                2 => world.free(),
                3 => drop(world.step(which)),
                4 if !world.tasks.is_empty() => drop(world.tasks.remove(which % world.tasks.len())),
                // A place that somebody beside the queue takes.
                5 if which == 0 => world.places = world.places.saturating_sub(1),
                5 if which == 1 => world.queue.sweep(),
                _ => world.queue.changed(),
            }
        }
        // Everybody who was woken looks, in any order.
        while world.step(3) {}
        prop_assert!(world.places == 0 || world.tasks.is_empty(), "{} places, {} wait", world.places, world.tasks.len());
        prop_assert_eq!(world.queue.is_empty(), world.tasks.is_empty());
    }
}

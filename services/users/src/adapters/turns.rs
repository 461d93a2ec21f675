//! Turns at something that few may do at once, fair by lane: a crowd in one lane holds up nobody in another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::ports::Lane;

/// How many are served, and how many may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnLimits {
    /// How many have their turn at once. The services' own lane has one more place, for itself.
    pub places: usize,
    /// How many may wait in one lane.
    pub waiting_per_lane: usize,
    /// How many may wait in all lanes together.
    pub waiting: usize,
}

/// The places and who waits for them. Lanes come round one after the other, each with who has waited longest in it.
#[derive(Clone)]
pub(super) struct Turns(Arc<Inner>);

struct Inner {
    limits: TurnLimits,
    queues: Mutex<Queues>,
}

struct Queues {
    /// The places that nobody has.
    free: usize,
    /// Whether the services' own place is free.
    own_free: bool,
    /// The lanes in which somebody waits, in the order of their turns.
    round: VecDeque<Lane>,
    lanes: HashMap<Lane, VecDeque<Waiter>>,
    waiting: usize,
    next_id: u64,
}

struct Waiter {
    id: u64,
    grant: oneshot::Sender<Turn>,
}

/// A place, for as long as this lives.
pub(super) struct Turn {
    turns: Option<Turns>,
    is_own: bool,
}

/// Somebody in a queue, who leaves it when this is dropped.
struct QueuePlace<'a> {
    turns: &'a Turns,
    lane: &'a Lane,
    id: u64,
}

impl Turns {
    pub(super) fn new(limits: TurnLimits) -> Self {
        let queues = Queues {
            free: limits.places,
            own_free: true,
            round: VecDeque::new(),
            lanes: HashMap::new(),
            waiting: 0,
            next_id: 0,
        };
        Self(Arc::new(Inner { limits, queues: Mutex::new(queues) }))
    }

    /// Waits for a turn in a lane, no longer than `patience`; `None` when there is none in time, or too many wait.
    ///
    /// Where all lanes together are full, who joins a shorter lane takes the place of the last one in the longest.
    pub(super) async fn next(&self, lane: &Lane, patience: Duration) -> Option<Turn> {
        let (id, granted) = {
            let mut queues = self.lock();
            if let Some(is_own) = queues.take_free(lane) {
                drop(queues);
                return Some(self.turn(is_own));
            }
            if !queues.has_room(lane, &self.0.limits) {
                return None;
            }
            queues.join(lane)
        };
        let _place = QueuePlace { turns: self, lane, id };
        tokio::time::timeout(patience, granted).await.ok()?.ok()
    }

    fn turn(&self, is_own: bool) -> Turn {
        Turn { turns: Some(self.clone()), is_own }
    }

    /// Gives a place to who is next, or back.
    fn pass_on(&self, is_own: bool) {
        loop {
            let next = {
                let mut queues = self.lock();
                let next = if is_own { queues.pop(&Lane::Service) } else { queues.pop_next() };
                if next.is_none() {
                    if is_own { queues.own_free = true } else { queues.free += 1 }
                }
                next
            };
            let Some(waiter) = next else { return };
            match waiter.grant.send(self.turn(is_own)) {
                Ok(()) => return,
                // Gone meanwhile: the place is the next one's. It is passed on here, not by the turn that came back.
                Err(mut turn) => turn.turns = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing in the queues is left half done by a panic.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass_on(self.is_own);
        }
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.turns.lock().leave(self.lane, self.id);
    }
}

impl Queues {
    /// Takes a place that is free, if there is one for this lane: whether it is the services' own. While somebody waits, no
    /// place is free that they could have.
    fn take_free(&mut self, lane: &Lane) -> Option<bool> {
        if *lane == Lane::Service && self.own_free {
            self.own_free = false;
            return Some(true);
        }
        if self.free == 0 {
            return None;
        }
        self.free -= 1;
        Some(false)
    }

    /// Whether one more may wait in a lane; makes room where all lanes are full and a longer one can spare somebody.
    fn has_room(&mut self, lane: &Lane, limits: &TurnLimits) -> bool {
        let length = self.lanes.get(lane).map_or(0, VecDeque::len);
        if length >= limits.waiting_per_lane {
            return false;
        }
        if self.waiting < limits.waiting {
            return true;
        }
        let longest = self.lanes.iter().max_by_key(|(_, waiters)| waiters.len());
        let Some((longest, _)) = longest.filter(|(_, waiters)| waiters.len() > length + 1) else { return false };
        let longest = longest.clone();
        // Its sender goes, and with it the hope of who has waited.
        if let Some(waiters) = self.lanes.get_mut(&longest)
            && waiters.pop_back().is_some()
        {
            self.waiting -= 1;
        }
        true
    }

    fn join(&mut self, lane: &Lane) -> (u64, oneshot::Receiver<Turn>) {
        let id = self.next_id;
        self.next_id += 1;
        let (grant, granted) = oneshot::channel();
        let waiters = self.lanes.entry(lane.clone()).or_default();
        if waiters.is_empty() {
            self.round.push_back(lane.clone());
        }
        waiters.push_back(Waiter { id, grant });
        self.waiting += 1;
        (id, granted)
    }

    /// Who has waited longest in the lane whose turn it is; the lane then comes last.
    fn pop_next(&mut self) -> Option<Waiter> {
        let lane = self.round.front()?.clone();
        self.round.rotate_left(1);
        self.pop(&lane)
    }

    /// Who has waited longest in a lane.
    fn pop(&mut self, lane: &Lane) -> Option<Waiter> {
        let waiters = self.lanes.get_mut(lane)?;
        let waiter = waiters.pop_front();
        self.waiting -= usize::from(waiter.is_some());
        if waiters.is_empty() {
            self.close(lane);
        }
        waiter
    }

    fn leave(&mut self, lane: &Lane, id: u64) {
        let Some(waiters) = self.lanes.get_mut(lane) else { return };
        let before = waiters.len();
        waiters.retain(|waiter| waiter.id != id);
        self.waiting -= before - waiters.len();
        if waiters.is_empty() {
            self.close(lane);
        }
    }

    /// Forgets a lane in which nobody waits.
    fn close(&mut self, lane: &Lane) {
        self.lanes.remove(lane);
        self.round.retain(|other| other != lane);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;

    const LIMITS: TurnLimits = TurnLimits { places: 2, waiting_per_lane: 16, waiting: 512 };
    const PATIENCE: Duration = Duration::from_secs(3);
    /// How long a hash takes here.
    const WORK: Duration = Duration::from_millis(20);

    fn address(at: usize) -> Lane {
        Lane::Address(format!("192.0.2.{at}").into())
    }

    /// Has so many work in a lane, each again and again; whoever had a turn is told.
    fn crowd(tasks: &mut JoinSet<()>, turns: &Turns, lane: &Lane, count: usize, served: &mpsc::UnboundedSender<Lane>) {
        for _ in 0..count {
            let (turns, lane, served) = (turns.clone(), lane.clone(), served.clone());
            tasks.spawn(async move {
                loop {
                    match turns.next(&lane, PATIENCE).await {
                        Some(turn) => {
                            tokio::time::sleep(WORK).await;
                            drop(turn);
                            served.send(lane.clone()).unwrap();
                        }
                        None => tokio::time::sleep(WORK).await,
                    }
                }
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s18_eight_addresses_with_a_hundred_each_let_the_ninth_have_its_turn() {
        let turns = Turns::new(LIMITS);
        let (served, mut order) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for at in 0..8 {
            crowd(&mut tasks, &turns, &address(at), 100, &served);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..20 {
            while order.try_recv().is_ok() {}
            let turn = turns.next(&address(9), PATIENCE).await.unwrap();
            let mut before = 0;
            while order.try_recv().is_ok() {
                before += 1;
            }
            assert!(before <= 8 + LIMITS.places, "{before} had their turn before");
            tokio::time::sleep(WORK).await;
            drop(turn);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d10_services_have_a_place_of_their_own() {
        let turns = Turns::new(LIMITS);
        let (served, _order) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for at in 0..8 {
            crowd(&mut tasks, &turns, &address(at), 100, &served);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = tokio::time::Instant::now();
        let own = turns.next(&Lane::Service, PATIENCE).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(own);
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_are_served_alike_however_many_wait_in_them() {
        let turns = Turns::new(LIMITS);
        let (served, mut order) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (at, count) in [100, 50, 10, 4].into_iter().enumerate() {
            crowd(&mut tasks, &turns, &address(at), count, &served);
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        tasks.shutdown().await;
        let mut counts: HashMap<Lane, u32> = HashMap::new();
        while let Ok(lane) = order.try_recv() {
            *counts.entry(lane).or_default() += 1;
        }
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        assert!(counts.len() == 4 && most - least <= 4, "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_lane_takes_nobody_and_all_lanes_together_are_bounded() {
        let turns = Turns::new(TurnLimits { places: 1, waiting_per_lane: 3, waiting: 4 });
        let first = turns.next(&address(0), PATIENCE).await.unwrap();
        let mut waiting = Vec::new();
        for at in [0, 0, 0, 1] {
            let turns = turns.clone();
            waiting.push(tokio::spawn(async move { turns.next(&address(at), PATIENCE).await.is_some() }));
            tokio::task::yield_now().await;
        }
        assert!(turns.next(&address(0), PATIENCE).await.is_none(), "its lane is full");
        let newcomer = tokio::spawn({
            let turns = turns.clone();
            async move { turns.next(&address(2), PATIENCE).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(turns.next(&address(1), PATIENCE).await.is_none(), "no lane is so much longer than its own");
        drop(first);
        let mut had = Vec::new();
        for one in waiting {
            had.push(one.await.unwrap());
        }
        assert_eq!(had, [true, true, false, true], "the last of the longest lane has made room");
        assert!(newcomer.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_patience_leaves_and_takes_no_turn() {
        let turns = Turns::new(TurnLimits { places: 1, ..LIMITS });
        let first = turns.next(&address(0), PATIENCE).await.unwrap();
        assert!(turns.next(&address(1), PATIENCE).await.is_none());
        {
            let queues = turns.lock();
            assert_eq!((queues.waiting, queues.lanes.len(), queues.round.len()), (0, 0, 0));
        }
        drop(first);
        assert_eq!(turns.lock().free, 1);
    }

    proptest! {
        /// Whoever comes, gives up and goes, in whatever order: no place is lost or made, and nothing is left of who has gone.
        #[test]
        fn places_are_neither_lost_nor_made(
            callers in prop::collection::vec((0..6_usize, 0..50_u64, 0..60_u64, 0..40_u64), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let turns = Turns::new(TurnLimits { places: 2, waiting_per_lane: 4, waiting: 10 });
                let mut tasks = JoinSet::new();
                for (lane, comes, patience, work) in callers {
                    let turns = turns.clone();
                    tasks.spawn(async move {
                        let lane = if lane == 0 { Lane::Service } else { address(lane) };
                        tokio::time::sleep(Duration::from_millis(comes)).await;
                        if let Some(turn) = turns.next(&lane, Duration::from_millis(patience)).await {
                            {
                                let queues = turns.lock();
                                assert!(queues.free < 2 || !queues.own_free);
                                assert!(queues.waiting <= 10 && queues.round.len() == queues.lanes.len());
                            }
                            tokio::time::sleep(Duration::from_millis(work)).await;
                            drop(turn);
                        }
                    });
                }
                while let Some(done) = tasks.join_next().await {
                    done.unwrap();
                }
                let queues = turns.lock();
                assert!(queues.free == 2 && queues.own_free && queues.waiting == 0);
                assert!(queues.lanes.is_empty() && queues.round.is_empty());
            });
        }
    }
}

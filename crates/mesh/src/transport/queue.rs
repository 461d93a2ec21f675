//! Who waits for a place for a stream: first come, first served, and one wake for each place.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

/// A queue of tasks that wait for a place on any of the connections that share it.
///
/// A connection that has a place again calls [`WaitQueue::place`]: the first in the queue gets a *turn*, which says that it
/// may reserve. What may concern everybody (another connection, an endpoint that is gone) goes to all by
/// [`WaitQueue::changed`]; reserving stays with the first, who passes the turn on when it found a place. Nobody else may
/// reserve while somebody waits, so nobody is overtaken. While the queue is empty, a place costs one atomic load.
///
/// It may have a limit; beyond it nobody joins.
pub struct WaitQueue {
    /// How many may wait.
    limit: usize,
    /// How many wait, readable without the lock.
    length: AtomicUsize,
    state: Mutex<QueueState>,
    /// Whether the queue is being swept, or is about to be.
    swept: AtomicBool,
    used: Notify,
}

/// How often turns that nobody answers are looked for.
const SWEEP: Duration = Duration::from_millis(100);

#[derive(Default)]
struct QueueState {
    /// In the order of their numbers, which is that of their coming.
    waiting: VecDeque<Waiting>,
    next: u64,
    /// Places that became free while all who waited had a turn: turns for those who come.
    spare: usize,
    /// Whether there may be several of them.
    several: bool,
}

struct Waiting {
    number: u64,
    turn: Option<Turn>,
    waker: Option<Waker>,
    /// Whether its turn was there at the last sweep already.
    overdue: bool,
    /// Whether it has let a turn pass: others come before it until it looks again.
    absent: bool,
}

/// Why a waiter may reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// One place has become free.
    Place,
    /// There may be several: who finds one passes the turn on.
    Several,
}

impl Default for WaitQueue {
    /// Without a limit.
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl WaitQueue {
    /// A queue in which at most so many wait.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            length: AtomicUsize::new(0),
            state: Mutex::default(),
            swept: AtomicBool::new(false),
            used: Notify::new(),
        }
    }

    /// Whether nobody waits, so that a newcomer may reserve at once.
    pub fn is_empty(&self) -> bool {
        // Sequentially consistent, as the counts of places are: a waiter joins and then looks for a place, who frees a
        // place looks for waiters afterwards. One of the two sees the other.
        self.length.load(Ordering::SeqCst) == 0
    }

    /// A place has become free: the first that has no turn yet gets one.
    pub fn place(&self) {
        if !self.is_empty() {
            let waker = self.lock().give(Turn::Place);
            wake(waker);
        }
    }

    /// Something has changed for everybody: all look again, and the first may reserve.
    pub fn changed(&self) {
        if self.is_empty() {
            return;
        }
        let mut state = self.lock();
        match state.waiting.iter_mut().find(|waiting| !waiting.absent) {
            Some(first) => first.turn = Some(Turn::Several),
            None => state.several = true,
        }
        let wakers: Vec<_> = state.waiting.iter_mut().filter_map(|waiting| waiting.waker.take()).collect();
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Passes on turns that nobody has answered since the last sweep: a future that is kept and not polled must not hold up
    /// those behind it, which may be what its owner waits for.
    pub(super) fn sweep(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            let mut passed = Vec::new();
            for waiting in &mut state.waiting {
                if waiting.turn.is_some() && std::mem::replace(&mut waiting.overdue, true) {
                    passed.extend(waiting.turn.take());
                    (waiting.overdue, waiting.absent) = (false, true);
                }
            }
            for turn in passed {
                wakers.extend(state.give(turn));
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Sweeps the queue while somebody waits. Runs beside the calls until it is dropped; another one takes over then, even
    /// in the middle of it.
    pub async fn keep_moving(&self) {
        loop {
            while !self.is_empty() {
                tokio::time::sleep(SWEEP).await;
                self.sweep();
            }
            self.swept.store(false, Ordering::SeqCst);
            // Who joined before that has notified nobody.
            if self.is_empty() || self.swept.swap(true, Ordering::SeqCst) {
                self.used.notified().await;
            }
        }
    }

    /// Joins at the end. The first of all has a turn at once: a place may have become free before it came. `None` when as many
    /// wait as may.
    pub fn join(self: &Arc<Self>) -> Option<Waiter> {
        let mut state = self.lock();
        if state.waiting.len() >= self.limit {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let turn = if state.waiting.is_empty() {
            state.forget_spare();
            Some(Turn::Several)
        } else if std::mem::take(&mut state.several) {
            Some(Turn::Several)
        } else if state.spare > 0 {
            state.spare -= 1;
            Some(Turn::Place)
        } else {
            None
        };
        state.waiting.push_back(Waiting { number, turn, waker: None, overdue: false, absent: false });
        self.length.store(state.waiting.len(), Ordering::SeqCst);
        drop(state);
        if !self.swept.load(Ordering::Relaxed) && !self.swept.swap(true, Ordering::AcqRel) {
            self.used.notify_one();
        }
        Some(Waiter { queue: Arc::clone(self), number })
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Nothing in it is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn give(&mut self, turn: Turn) -> Option<Waker> {
        match self.waiting.iter_mut().find(|waiting| waiting.turn.is_none() && !waiting.absent) {
            Some(next) => {
                next.turn = Some(turn);
                next.waker.take()
            }
            None => {
                match turn {
                    Turn::Place => self.spare += 1,
                    Turn::Several => self.several = true,
                }
                None
            }
        }
    }

    fn forget_spare(&mut self) {
        (self.spare, self.several) = (0, false);
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A place in the queue. Dropped, it is left, and a turn that was not used goes to the next.
#[must_use = "dropped, it leaves the queue"]
pub struct Waiter {
    queue: Arc<WaitQueue>,
    number: u64,
}

impl Waiter {
    /// Looks for a place: `look` is told whether it may reserve. Pending, the task is woken when there is a reason to look
    /// again.
    pub fn poll<T, E>(&mut self, waker: &Waker, look: impl FnOnce(bool) -> Option<Result<T, E>>) -> Poll<Result<T, E>> {
        let turn = {
            let mut state = self.queue.lock();
            let Some(index) = state.find(self.number) else { return Poll::Pending };
            let waiting = &mut state.waiting[index];
            // Taken before the look: a place that becomes free during it gives another turn.
            let passed = std::mem::take(&mut waiting.absent).then_some(Turn::Several);
            let turn = waiting.turn.take().or(passed);
            waiting.overdue = false;
            match &mut waiting.waker {
                Some(registered) => registered.clone_from(waker),
                None => waiting.waker = Some(waker.clone()),
            }
            turn
        };
        let Some(found) = look(turn.is_some()) else {
            if turn.is_some() {
                let mut state = self.queue.lock();
                // There was no place after all, and so none for those who come later; unless one came during the look, which
                // has given another turn: then others may have come after it.
                if state.find(self.number).is_some_and(|index| state.waiting[index].turn.is_none()) {
                    state.forget_spare();
                }
            }
            return Poll::Pending;
        };
        // Who gives up has used no place.
        self.leave(if found.is_ok() { turn.filter(|turn| *turn == Turn::Several) } else { turn });
        Poll::Ready(found)
    }

    /// Leaves the queue. `unused` and a turn that came meanwhile are for the next; two places are for the next two.
    fn leave(&mut self, unused: Option<Turn>) {
        let mut state = self.queue.lock();
        let Some(index) = state.find(self.number) else { return };
        let left = state.waiting.remove(index).and_then(|left| left.turn);
        self.queue.length.store(state.waiting.len(), Ordering::SeqCst);
        let turns = [unused, left];
        let turns = if turns.contains(&Some(Turn::Several)) { [Some(Turn::Several), None] } else { turns };
        let wakers = turns.map(|turn| turn.and_then(|turn| state.give(turn)));
        drop(state);
        wakers.into_iter().for_each(wake);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.leave(None);
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitQueue").field("length", &self.length).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("number", &self.number).finish_non_exhaustive()
    }
}

//! The bytes of a connection's answers that `h2` has and the socket not yet, and the answers that wait for them to get fewer.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a DATA frame takes in `h2` besides its bytes: many small ones are as much memory as few large ones.
const FRAME: usize = 256;

/// Set while answers wait: then nobody is let through until half is written, or those that never had to wait would keep it
/// above that for good.
const FULL: usize = 1 << (usize::BITS - 1);

/// What each connection may have without being counted, and the steps in which it is counted above that: most connections never
/// have as much, and to count each frame would cost more than it is worth.
const STEP: usize = 16 << 10;

/// Counts what one connection has, in bytes from now on (absolute, 0: nothing): whether it may have them. Fewer than before it
/// always may. It is called below the locks of `h2`: it must not panic, and reach nothing of a stream.
pub(crate) type CountUnwritten = Box<dyn FnMut(usize) -> bool + Send>;

/// The backlog of one connection. What its client does not read piles up here, whatever its windows allow.
pub(super) struct Backlog {
    /// Bytes, and [`FULL`].
    bytes: AtomicUsize,
    /// How many frames have left it.
    written: AtomicUsize,
    /// One that finds as many is not let through; one that finds fewer is, whatever it brings, unless that may not be counted.
    limit: usize,
    /// So much is counted, or need not be.
    room: AtomicUsize,
    line: Mutex<Line>,
    /// Who counts, if anybody does.
    count: Mutex<Option<CountUnwritten>>,
}

/// Those that wait, by the order in which they came.
#[derive(Default)]
struct Line {
    last: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Backlog {
    pub(super) fn new(limit: usize, count: Option<CountUnwritten>) -> Arc<Self> {
        let (bytes, written, room) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(STEP));
        let (limit, line, count) = (limit.clamp(1, FULL - 1), Mutex::default(), Mutex::new(count));
        Arc::new(Self { bytes, written, limit, room, line, count })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many frames have left it so far; `None` when nothing is in it.
    pub(super) fn written(&self) -> Option<usize> {
        let is_empty = self.bytes.load(Ordering::Acquire) & !FULL == 0;
        (!is_empty).then(|| self.written.load(Ordering::Relaxed))
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) < self.limit
    }

    /// Below that those that wait have their turn.
    fn half(&self) -> usize {
        self.room.load(Ordering::Acquire).min(self.limit).div_ceil(2)
    }

    fn add(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let after = before.saturating_add(bytes);
        let has_room = before < self.limit && (after <= self.room.load(Ordering::Acquire) || self.grow(before, after));
        if !has_room {
            self.remove(bytes);
        }
        has_room
    }

    fn count(&self) -> MutexGuard<'_, Option<CountUnwritten>> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one that makes `after` bytes of those `before` may do so. One that finds less than half may in any case, counted
    /// or not: then those that wait for that are never refused again.
    fn grow(&self, before: usize, after: usize) -> bool {
        let mut count = self.count();
        if after <= self.room.load(Ordering::Acquire) {
            return true;
        }
        let room = after.checked_next_multiple_of(STEP).unwrap_or(after);
        if count.as_mut().is_none_or(|count| count(room)) {
            self.room.store(room, Ordering::Release);
            return true;
        }
        before < self.half()
    }

    /// Nothing is counted any more once nothing is there. One that comes at this very moment may be counted no earlier than the
    /// next.
    fn shrink(&self) {
        let mut count = self.count();
        if self.bytes.load(Ordering::Acquire) & !FULL == 0 {
            self.room.store(STEP, Ordering::Release);
            if let Some(count) = count.as_mut() {
                count(0);
            }
        }
    }

    /// Runs below the locks of `h2` too: it wakes, and touches no stream.
    fn remove(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        let after = before.wrapping_sub(bytes);
        if before & FULL != 0 && after & !FULL < self.half() {
            self.wake();
        }
        if after & !FULL == 0 && self.room.load(Ordering::Acquire) > STEP {
            self.shrink();
        }
    }

    fn wake(&self) {
        let wakers = {
            let mut line = self.line();
            self.bytes.fetch_and(!FULL, Ordering::AcqRel);
            mem::take(&mut line.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }
}

/// The place of one answer in the line of its connection's backlog.
#[derive(Default)]
pub(super) struct Ticket {
    /// `None` once the last bytes have taken it with them.
    backlog: Option<Arc<Backlog>>,
    /// Since it had to wait, and until it is let through.
    number: Option<u64>,
    advanced: bool,
}

impl Ticket {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self { backlog: Some(backlog), number: None, advanced: false }
    }

    /// Whether there may be room. One that does not wait yet is not told before it asks for its bytes.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.backlog {
            Some(backlog) if self.number.is_some() && !backlog.has_room() => self.poll_turn(cx),
            _ => Poll::Ready(()),
        }
    }

    /// Adds so many bytes to the backlog when there is room; the `last` ones take the ticket with them.
    pub(super) fn poll_load(&mut self, bytes: usize, last: bool, cx: &mut Context<'_>) -> Poll<Load> {
        let bytes = bytes.saturating_add(FRAME);
        while let Some(backlog) = &self.backlog
            && !backlog.add(bytes)
        {
            if self.poll_turn(cx).is_pending() {
                return Poll::Pending;
            }
        }
        self.leave();
        let backlog = if last { self.backlog.take() } else { self.backlog.clone() };
        Poll::Ready(Load { backlog, bytes })
    }

    /// Waits in the line. Ready when there has been room since.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(backlog) = &self.backlog else { return Poll::Ready(()) };
        let waker = cx.waker().clone();
        let mut line = backlog.line();
        let number = self.number.unwrap_or_else(|| {
            line.last += 1;
            line.last
        });
        self.number = Some(number);
        let replaced = line.wakers.insert(number, waker);
        // Who makes room after this sees that somebody waits; the room that was made before is seen here.
        let is_full = backlog.bytes.fetch_or(FULL, Ordering::AcqRel) & !FULL >= backlog.half();
        drop(line);
        self.advanced |= replaced.is_none();
        if is_full {
            return Poll::Pending;
        }
        backlog.wake();
        Poll::Ready(())
    }

    /// Whether the client has read since this was last asked: the ticket is new in the line, or half of the backlog was
    /// written.
    pub(super) fn take_advanced(&mut self) -> bool {
        mem::take(&mut self.advanced)
    }

    fn leave(&mut self) {
        if let (Some(number), Some(backlog)) = (self.number.take(), &self.backlog) {
            let waker = backlog.line().wakers.remove(&number);
            drop(waker);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Bytes in the backlog; dropped, they are no more.
pub(super) struct Load {
    backlog: Option<Arc<Backlog>>,
    bytes: usize,
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(backlog) = &self.backlog {
            backlog.written.fetch_add(1, Ordering::Relaxed);
            backlog.remove(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::assert_ready;
    use tokio_test::task::{Spawn, spawn};

    use super::*;

    /// Answers of one connection, each with what it does when it is woken.
    fn tickets(limit: usize, count: usize) -> (Arc<Backlog>, Vec<Spawn<Ticket>>) {
        counted(limit, count, None)
    }

    fn counted(limit: usize, count: usize, counts: Option<CountUnwritten>) -> (Arc<Backlog>, Vec<Spawn<Ticket>>) {
        let backlog = Backlog::new(limit, counts);
        let tickets = (0..count).map(|_| spawn(Ticket::new(Arc::clone(&backlog)))).collect();
        (backlog, tickets)
    }

    fn load(ticket: &mut Spawn<Ticket>, bytes: usize) -> Poll<Load> {
        ticket.enter(|cx, mut ticket| ticket.poll_load(bytes, false, cx))
    }

    fn bytes(backlog: &Backlog) -> usize {
        backlog.bytes.load(Ordering::SeqCst) & !FULL
    }

    #[test]
    fn one_goes_through_an_empty_backlog_however_large() {
        let (backlog, mut tickets) = tickets(0, 2);
        let large = assert_ready!(load(&mut tickets[0], 1 << 30));
        assert!(load(&mut tickets[1], 1).is_pending());
        drop(large);
        assert!(tickets[1].is_woken());
        drop(assert_ready!(load(&mut tickets[1], 1)));
        assert_eq!(bytes(&backlog), 0);
    }

    #[test]
    fn who_waits_is_woken_below_half_and_nobody_overtakes_it() {
        let (backlog, mut tickets) = tickets(4000, 3);
        let mut loads: Vec<_> = (0..4).map(|_| assert_ready!(load(&mut tickets[0], 1000 - FRAME))).collect();
        assert!(load(&mut tickets[1], 1000 - FRAME).is_pending());
        loads.truncate(2);
        // There is room, but not for those that come later.
        assert!(!tickets[1].is_woken());
        assert!(load(&mut tickets[2], 1000 - FRAME).is_pending());
        loads.truncate(1);
        assert!(tickets[1].is_woken() && tickets[2].is_woken());
        let _first = assert_ready!(load(&mut tickets[1], 1000 - FRAME));
        let _second = assert_ready!(load(&mut tickets[2], 1000 - FRAME));
        assert_eq!(bytes(&backlog), 3000);
        assert!(backlog.line().wakers.is_empty());
    }

    /// Counts up to a limit; what is counted, and how.
    fn budget(limit: usize) -> (Arc<AtomicUsize>, Option<CountUnwritten>) {
        let counted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&counted);
        let counts = move |bytes: usize| {
            let may = bytes <= limit || bytes <= count.load(Ordering::SeqCst);
            if may {
                count.store(bytes, Ordering::SeqCst);
            }
            may
        };
        (counted, Some(Box::new(counts)))
    }

    #[test]
    fn s7_what_is_there_is_counted_in_steps_until_all_is_written() {
        let (counted_bytes, counts) = budget(usize::MAX);
        let (backlog, mut tickets) = counted(8 * STEP, 1, counts);
        let count = || counted_bytes.load(Ordering::SeqCst);
        let mut loads = vec![assert_ready!(load(&mut tickets[0], STEP - FRAME))];
        assert_eq!(count(), 0, "each may have so much");
        while let Poll::Ready(load) = load(&mut tickets[0], 5000) {
            loads.push(load);
            assert!(count() >= bytes(&backlog) && count() < bytes(&backlog) + STEP, "{}", count());
        }
        assert!(bytes(&backlog) >= 8 * STEP);
        drop(loads);
        assert_eq!((count(), bytes(&backlog)), (0, 0));
    }

    #[test]
    fn s7_who_may_be_counted_for_no_more_gets_on_with_what_each_may_have() {
        for limit in [0, 3 * STEP] {
            let (counted_bytes, counts) = budget(limit);
            let (backlog, mut tickets) = counted(8 * STEP, 2, counts);
            let most = limit.max(STEP);
            let mut loads = Vec::new();
            for turn in 0..50 {
                let ticket = turn % 2;
                while let Poll::Ready(load) = load(&mut tickets[ticket], 1000) {
                    loads.push(load);
                }
                assert!(bytes(&backlog) <= most && bytes(&backlog) > most / 2, "{}", bytes(&backlog));
                assert!(counted_bytes.load(Ordering::SeqCst) <= limit);
                loads.truncate(loads.len() / 3);
                assert!(tickets[ticket].is_woken(), "there is room again, at {limit}");
            }
        }
    }

    #[test]
    fn who_is_gone_leaves_nothing_in_the_line() {
        let (backlog, mut tickets) = tickets(1000, 2);
        let held = assert_ready!(load(&mut tickets[0], 1000));
        for _ in 0..10 {
            assert!(load(&mut tickets[1], 1).is_pending());
        }
        assert_eq!(backlog.line().wakers.len(), 1);
        tickets.truncate(1);
        assert!(backlog.line().wakers.is_empty());
        drop(held);
        drop(assert_ready!(load(&mut tickets[0], 1)));
    }

    #[test]
    fn threads_that_fill_and_empty_it_leave_nobody_waiting() {
        let backlog = Backlog::new(1000, None);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let mut ticket = Ticket::new(Arc::clone(&backlog));
                runtime.spawn(async move {
                    for _ in 0..2000 {
                        let load = std::future::poll_fn(|cx| ticket.poll_load(200, false, cx)).await;
                        tokio::task::yield_now().await;
                        drop(load);
                    }
                })
            })
            .collect();
        calls.into_iter().for_each(|call| runtime.block_on(call).unwrap());
        assert_eq!(backlog.bytes.load(Ordering::SeqCst) & !FULL, 0);
        assert!(backlog.line().wakers.is_empty());
    }
}

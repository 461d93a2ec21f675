//! What this process knows of a partition.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::waiting::Queue;
use crate::Commit;

/// How many commits are kept for those who follow the partition.
const KEPT_COMMITS: usize = 512;
/// How many bytes of events they have together, but for the last one.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// A partition as far as it is known here.
pub(super) struct Partition {
    /// Where the commits of this process wait for their turn: at the same time they would only collide.
    pub(super) queue: Queue,
    /// Wakes the follower: there is something behind the tail.
    pub(super) behind: Notify,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the database was asked for the last position yet.
    begun: bool,
    /// The highest position that is known to be taken, by an acknowledged insert or a majority read.
    head: i64,
    /// The position up to which nothing is missing and everything was handed on.
    tail: i64,
    /// When the database was last asked for what is behind the tail, and had nothing.
    caught_up: Option<Instant>,
    /// The last commits up to the tail, without a gap.
    recent: VecDeque<Commit>,
    /// The bytes of their events.
    bytes: usize,
}

impl Partition {
    /// A partition of which nothing is known.
    pub(super) fn new(queue: Queue) -> Self {
        Self { queue, behind: Notify::new(), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked has left whole values: each change is one assignment after another, and all can be read again.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The highest known position, once the database was asked.
    pub(super) fn head(&self) -> Option<i64> {
        let known = self.known();
        known.begun.then_some(known.head)
    }

    /// The position up to which everything was handed on.
    pub(super) fn tail(&self) -> i64 {
        self.known().tail
    }

    /// At the moment `asked` there was nothing behind the tail.
    pub(super) fn caught_up(&self, asked: Instant) {
        let mut known = self.known();
        known.caught_up = known.caught_up.max(Some(asked));
    }

    /// Whether everything that is known to be there was handed on, up to `n`, and somebody has looked for more lately.
    pub(super) fn ends_at(&self, n: i64, lately: Duration) -> bool {
        let known = self.known();
        let looked = known.caught_up.is_some_and(|at| at.elapsed() < lately);
        looked && n == known.tail && n == known.head
    }

    /// What the database says is the last position, when it is asked for the first time.
    pub(super) fn begin(&self, last: i64) {
        let mut known = self.known();
        if !known.begun {
            known.begun = true;
            known.tail = last;
        }
        known.head = known.head.max(last);
    }

    /// A position that is known to be taken.
    pub(super) fn taken(&self, n: i64) {
        let mut known = self.known();
        known.head = known.head.max(n);
        if known.begun && known.head > known.tail {
            self.behind.notify_one();
        }
    }

    /// Takes a commit that is known to stand. Returns whether the tail has moved to it.
    pub(super) fn stands(&self, commit: &Commit) -> bool {
        let n = commit.position.n;
        let mut known = self.known();
        known.head = known.head.max(n);
        if !known.begun || n != known.tail + 1 {
            if known.begun && n > known.tail {
                self.behind.notify_one();
            }
            return false;
        }
        known.tail = n;
        if commit.damage.is_some() {
            // Once it is repaired, the database has it and we had not.
            known.recent.clear();
            known.bytes = 0;
            return true;
        }
        known.bytes += commit.bytes();
        known.recent.push_back(commit.clone());
        while known.recent.len() > KEPT_COMMITS || known.recent.len() > 1 && known.bytes > KEPT_BYTES {
            let dropped = known.recent.pop_front();
            known.bytes -= dropped.as_ref().map_or(0, Commit::bytes);
        }
        true
    }

    /// Keeps the commit at the tail where none is kept, as when this process has just begun: who reads with an overlap of one
    /// asks for it again and again.
    pub(super) fn keep_last(&self, commits: &[Commit]) {
        let mut known = self.known();
        if !known.begun || !known.recent.is_empty() {
            return;
        }
        let tail = known.tail;
        let last = commits.iter().find(|commit| commit.position.n == tail && commit.damage.is_none());
        if let Some(last) = last {
            known.bytes = last.bytes();
            known.recent.push_back(last.clone());
        }
    }

    /// At most `limit` commits behind `after`, if they are kept here; `None` when the database must be asked.
    pub(super) fn recent(&self, after: i64, limit: usize) -> Option<Vec<Commit>> {
        let known = self.known();
        let first = known.recent.front()?.position.n;
        let skip = usize::try_from(after.checked_add(1)?.checked_sub(first)?).ok()?;
        let commits: Vec<_> = known.recent.iter().skip(skip).take(limit).cloned().collect();
        (!commits.is_empty()).then_some(commits)
    }
}

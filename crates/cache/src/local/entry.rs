//! An entry of the local tier, and for how long it is valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::cells::Stamp;
use crate::position::Position;
use crate::refresh;

/// For how long an entry is valid while nobody tells of changes by others (CA-7).
const UNTRACKED_TTL: Duration = Duration::from_secs(1);

/// When a value was loaded and until when it is what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When its load began, or it was committed.
    pub(crate) born: Instant,
    /// When it was last known to be current: then, or when the remote tier was asked for it.
    pub(crate) seen: Instant,
    /// Until when it is fresh.
    pub(crate) soft: Instant,
    /// Until when it may stand in while the source of truth fails.
    pub(crate) hard: Instant,
    /// How long its load took.
    pub(crate) load: Duration,
}

/// How the remote tier was linked when an entry's fill began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linked {
    /// The remote tier answers: an entry whose local time is over is still there.
    pub(crate) is_up: bool,
    /// Changes by others were told.
    pub(crate) is_tracking: bool,
    /// For how long an entry may be valid then.
    pub(crate) local_ttl: Duration,
}

impl Linked {
    /// For what is kept though the remote tier has not answered: for 1 s at most.
    pub(crate) fn untracked(self) -> Self {
        Self { is_up: false, is_tracking: false, ..self }
    }
}

/// A value in memory, or the knowledge that there is none.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    /// `None`: there is none of that key.
    pub(crate) value: Option<Arc<V>>,
    pub(crate) version: u64,
    pub(crate) position: Option<Position>,
    pub(crate) times: Times,
    /// About how many bytes it has.
    pub(crate) weight: u32,
    stamp: Stamp,
    /// Until when it is valid whoever tells of changes.
    untracked: Instant,
    /// Until when it is valid while changes by others are told.
    tracked: Instant,
    /// From when on an early refresh is thought of, and what for.
    refresh_from: Instant,
    refresh_before: Instant,
    is_refreshing: AtomicBool,
}

impl<V> Entry<V> {
    pub(crate) fn new(
        value: Option<Arc<V>>,
        (version, position): (u64, Option<Position>),
        times: Times,
        stamp: Stamp,
        linked: Linked,
        weight: u32,
    ) -> Self {
        let untracked = times.soft.min(times.seen + UNTRACKED_TTL);
        let tracked = if linked.is_tracking { times.soft.min(times.seen + linked.local_ttl) } else { untracked };
        // What costs a load is the end of the time in the last tier.
        let refresh_before = if linked.is_up { times.soft } else { untracked };
        let fifth = refresh_before.saturating_duration_since(times.born) / 5;
        Self {
            value,
            version,
            position,
            times,
            weight,
            stamp,
            untracked: untracked.min(times.seen + linked.local_ttl),
            tracked,
            refresh_from: refresh_before.checked_sub(fifth).unwrap_or(refresh_before),
            refresh_before,
            is_refreshing: AtomicBool::new(false),
        }
    }

    /// Whether none of its cells has moved.
    pub(crate) fn is_current(&self) -> bool {
        self.stamp.is_current()
    }

    /// Whether its time is not over. `is_tracking` is asked for what is older than 1 s only.
    pub(crate) fn is_fresh(&self, now: Instant, is_tracking: impl FnOnce() -> bool) -> bool {
        now < self.untracked || (now < self.tracked && is_tracking())
    }

    /// How long ago it was surely current.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.times.born)
    }

    /// Whether this reader should have it loaded anew, ahead of time. True once at most.
    pub(crate) fn wants_refresh(&self, now: Instant) -> bool {
        now >= self.refresh_from
            && !self.is_refreshing.load(Ordering::Relaxed)
            && refresh::is_due(now, self.refresh_before, self.times.load, fastrand::f64())
            && !self.is_refreshing.swap(true, Ordering::Relaxed)
    }
}

//! One load per key and process, for all who wait (CA-4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::position::{Position, Wanted};

/// A reader of what is recent waits for no flight that began longer ago: what it brings may be older than a reader may be given.
const JOINABLE: Duration = Duration::from_secs(1);

/// How long others wait for the first step of a flight, which its leader's task takes: that may be cancelled, or left alone, such
/// as a future of a buffered stream is while an item of it is worked on. The remote tier itself answers much sooner.
const FIRST_STEP: Duration = Duration::from_millis(200);

/// What a flight is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For readers: what the remote tier has will do, if it is as fresh as wanted.
    Read(Wanted),
    /// For a reader with a token whom an earlier flight couldn't serve: only the source of truth will do.
    Load(Wanted),
    /// For nobody: the entry's time is nearly over.
    Refresh,
}

impl Mode {
    /// How fresh what it brings must be.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            Self::Read(wanted) | Self::Load(wanted) => wanted,
            Self::Refresh => Wanted::Recent,
        }
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The remote tier, or what was loaded by another process.
    Remote,
    /// The source of truth, asked after the flight began.
    Loaded,
    /// A tier, past its time.
    Stale {
        /// When it was current.
        born: Instant,
    },
}

/// What a flight has brought.
#[derive(Debug)]
pub(crate) struct Outcome<V> {
    /// `None`: there is none of that key.
    pub(crate) value: Option<Arc<V>>,
    pub(crate) position: Option<Position>,
    pub(crate) source: Source,
}

// By hand: the value itself need not be `Clone`.
impl<V> Clone for Outcome<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), position: self.position, source: self.source }
    }
}

/// How far a flight has come.
struct Progress<V, E> {
    /// A stale value for readers of what is recent: the load takes long, or has failed.
    stand_in: Option<Outcome<V>>,
    end: Option<Result<Outcome<V>, E>>,
}

/// Where the progress of a flight is told. Dropped without an end, it broke off.
pub(crate) struct Landing<V, E>(watch::Sender<Progress<V, E>>);

/// A flight that is under way, for who waits for it. Its first step may be its leader's; then it runs in a task of its own, so
/// that nobody's end ends it.
pub(crate) struct Flight<V, E> {
    /// It asks the source of truth whatever the tiers have.
    pub(crate) is_load: bool,
    began: Instant,
    /// It has a task of its own.
    is_aloft: AtomicBool,
    progress: watch::Receiver<Progress<V, E>>,
}

impl<V, E> Landing<V, E> {
    /// Lets a stale value stand in for what may still come.
    pub(crate) fn stand_in(&self, stale: Outcome<V>) {
        self.0.send_modify(|progress| progress.stand_in = Some(stale));
    }

    /// Ends the flight.
    pub(crate) fn end(&self, outcome: Result<Outcome<V>, E>) {
        self.0.send_modify(|progress| progress.end = Some(outcome));
    }

    /// Whether anybody waits.
    pub(crate) fn has_readers(&self) -> bool {
        // One receiver is the flight's own.
        self.0.receiver_count() > 1
    }
}

impl<V, E: Clone> Flight<V, E> {
    /// A flight that begins now, and where its progress must be told.
    pub(crate) fn begin(is_load: bool, now: Instant) -> (Landing<V, E>, Arc<Self>) {
        let (landing, progress) = watch::channel(Progress { stand_in: None, end: None });
        (Landing(landing), Arc::new(Self { is_load, began: now, is_aloft: AtomicBool::new(false), progress }))
    }

    /// Notes that it has a task of its own from now on.
    pub(crate) fn take_off(&self) {
        self.is_aloft.store(true, Ordering::Release);
    }

    fn is_aloft(&self) -> bool {
        self.is_aloft.load(Ordering::Acquire)
    }

    /// Whether a reader of what is recent may wait for it: what it brings is of this second, or something stands in already. One
    /// that has been invalidated is found by nobody.
    pub(crate) fn is_joinable(&self, now: Instant) -> bool {
        let progress = self.progress.borrow();
        let is_young = now.saturating_duration_since(self.began) < JOINABLE;
        progress.end.is_none() && (is_young || progress.stand_in.is_some())
    }

    /// Waits for its end, or for a stale value if that will do; `None` when it broke off, or its first step takes too long.
    pub(crate) async fn wait(&self, may_be_stale: bool) -> Option<Result<Outcome<V>, E>> {
        let mut progress = self.progress.clone();
        if !self.is_aloft() {
            match timeout(FIRST_STEP, landed(&mut progress, may_be_stale)).await {
                Ok(landed) => return landed,
                Err(_) if !self.is_aloft() => return None,
                Err(_) => {}
            }
        }
        landed(&mut progress, may_be_stale).await
    }
}

async fn landed<V, E: Clone>(
    progress: &mut watch::Receiver<Progress<V, E>>,
    may_be_stale: bool,
) -> Option<Result<Outcome<V>, E>> {
    let landed = progress.wait_for(|progress| progress.end.is_some() || (may_be_stale && progress.stand_in.is_some()));
    let progress = landed.await.ok()?;
    match (&progress.end, &progress.stand_in) {
        (Some(Ok(outcome)), _) => Some(Ok(outcome.clone())),
        (_, Some(stale)) if may_be_stale => Some(Ok(stale.clone())),
        (end, _) => end.clone(),
    }
}

//! One load per key and process, for all who wait (CA-4).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::position::Position;

/// A reader of what is recent waits for no flight that began longer ago: what it brings may be older than a reader may be given.
const JOINABLE: Duration = Duration::from_secs(1);

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

/// A flight that is under way, for who waits for it. It runs in a task of its own, so that nobody's end ends it.
pub(crate) struct Flight<V, E> {
    /// It asks the source of truth whatever the tiers have.
    pub(crate) is_load: bool,
    began: Instant,
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
    /// A flight, and where its progress must be told.
    pub(crate) fn begin(is_load: bool) -> (Landing<V, E>, Arc<Self>) {
        let (landing, progress) = watch::channel(Progress { stand_in: None, end: None });
        (Landing(landing), Arc::new(Self { is_load, began: Instant::now(), progress }))
    }

    /// Whether a reader of what is recent may wait for it: what it brings is of this second, and it has brought nothing yet.
    pub(crate) fn is_joinable(&self, now: Instant) -> bool {
        let progress = self.progress.borrow();
        now.saturating_duration_since(self.began) < JOINABLE && progress.stand_in.is_none() && progress.end.is_none()
    }

    /// Waits for its end, or for a stale value if that will do; `None` when its task broke off.
    pub(crate) async fn wait(&self, may_be_stale: bool) -> Option<Result<Outcome<V>, E>> {
        let mut receiver = self.progress.clone();
        let landed =
            receiver.wait_for(|progress| progress.end.is_some() || (may_be_stale && progress.stand_in.is_some()));
        let progress = landed.await.ok()?;
        match (&progress.end, &progress.stand_in) {
            (Some(Ok(outcome)), _) => Some(Ok(outcome.clone())),
            (_, Some(stale)) if may_be_stale => Some(Ok(stale.clone())),
            (end, _) => end.clone(),
        }
    }
}

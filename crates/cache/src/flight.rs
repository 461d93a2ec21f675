//! One load per key and process, for all who wait (CA-4).

use std::sync::Arc;

use tokio::sync::watch;

use crate::position::Position;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The remote tier, or what was loaded by another process.
    Remote,
    /// The source of truth, asked after the flight began.
    Loaded,
    /// A tier, past its time.
    Stale,
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

/// The end of a flight, once it is there.
pub(crate) type Landing<V, E> = watch::Sender<Option<Result<Outcome<V>, E>>>;

/// A flight that is under way, for who waits for it. It runs in a task of its own, so that nobody's end ends it.
pub(crate) struct Flight<V, E> {
    /// It asks the source of truth whatever the tiers have.
    pub(crate) is_load: bool,
    outcome: watch::Receiver<Option<Result<Outcome<V>, E>>>,
}

impl<V, E: Clone> Flight<V, E> {
    /// A flight, and where its end must be told.
    pub(crate) fn begin(is_load: bool) -> (Landing<V, E>, Arc<Self>) {
        let (landing, outcome) = watch::channel(None);
        (landing, Arc::new(Self { is_load, outcome }))
    }

    /// Waits for its end; `None` when its task broke off.
    pub(crate) async fn wait(&self) -> Option<Result<Outcome<V>, E>> {
        let mut outcome = self.outcome.clone();
        let landed = outcome.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

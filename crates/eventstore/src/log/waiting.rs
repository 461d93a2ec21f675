//! Commits that wait in a partition for their turn.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use crate::Commit;

/// How many commits may wait in a partition; who comes then waits to get in.
const QUEUED: usize = 1_024;

/// Where commits are put.
pub(super) type Queue = mpsc::Sender<Queued>;

/// A commit that waits.
pub(super) struct Queued {
    pub(super) commit: Commit,
    /// Whether an insert of it is under way, or may have been made.
    pub(super) sent: Arc<AtomicBool>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What became of a commit.
pub(super) struct Answer {
    /// The position that was tried.
    pub(super) n: i64,
    pub(super) outcome: Outcome,
}

/// How an insert has ended.
pub(super) enum Outcome {
    /// It was acknowledged.
    Made,
    /// Another commit of this process has its version by now; it could only be refused, and wasn't tried.
    Overtaken,
    /// What went wrong.
    Failed(String),
}

/// A queue and its end, for who inserts.
pub(super) fn queue() -> (Queue, mpsc::Receiver<Queued>) {
    mpsc::channel(QUEUED)
}

impl Queued {
    /// Tells whoever waits how it has ended.
    pub(super) fn end(self, outcome: Outcome) {
        self.answer.send(Answer { n: self.commit.position.n, outcome }).ok();
    }
}

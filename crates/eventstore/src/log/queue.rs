//! The queue of a partition: commits are inserted by one command after the other, and what has come meanwhile goes
//! together.
//!
//! The documents of a command are applied in order, and it stops at the first one that is refused. So a position is still
//! taken only behind one that stands: the commits before it in the command were applied, or it wasn't tried. A failover
//! cuts the log of the primary at one place, and so keeps the commits of a command up to one of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use tokio::sync::{mpsc, oneshot};

use super::waiting::{Answer, Outcome, Queued};
use super::{CommitServer, InsertError, InsertFailure, Log, first_version};
use crate::Commit;

/// How many commits go together. FerretDB keeps the order of 100 documents and not of more.
const TOGETHER: usize = 64;
/// How many bytes they have together, but for the first one.
const TOGETHER_BYTES: usize = 4 * 1024 * 1024;

/// Inserts what comes, for ever.
pub(super) async fn run<S: CommitServer>(log: Arc<Log<S>>, number: u16, mut queue: mpsc::Receiver<Queued>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(queued) => waiting.push_back(queued),
                None => return,
            }
        }
        while waiting.len() < TOGETHER
            && let Ok(queued) = queue.try_recv()
        {
            waiting.push_back(queued);
        }
        let together = log.next(&mut waiting);
        if !together.is_empty() {
            for untried in log.insert_together(number, together).await.into_iter().rev() {
                waiting.push_front(untried);
            }
        }
    }
}

impl<S: CommitServer> Log<S> {
    /// Inserts the commit behind the last known position, which it then has. Who gives up waiting before it was sent takes
    /// it back.
    pub(super) async fn insert_in_turn(&self, commit: &mut Commit, sent: &Arc<AtomicBool>) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let queued = Queued { commit: commit.clone(), sent: sent.clone(), answer };
        // Neither fails while there is a log that appends.
        if self.partition(commit.position.partition).queue.send(queued).await.is_err() {
            return Outcome::Failed("the store is closed".to_owned());
        }
        match answered.await {
            Ok(Answer { n, outcome }) => {
                commit.position.n = n;
                outcome
            }
            Err(_) => Outcome::Failed("the store is closed".to_owned()),
        }
    }

    /// Takes the commits that go together: at most one of a stream, as the next one of it goes behind the first.
    fn next(&self, waiting: &mut VecDeque<Queued>) -> Vec<Queued> {
        let (mut together, mut bytes) = (Vec::<Queued>::new(), 0);
        for queued in std::mem::take(waiting) {
            if !queued.sent.load(Ordering::SeqCst) && self.is_overtaken(&queued.commit) {
                queued.end(Outcome::Overtaken);
                continue;
            }
            let size = queued.commit.bytes();
            let fits = together.is_empty() || bytes + size <= TOGETHER_BYTES;
            if fits && together.iter().all(|other| other.commit.stream != queued.commit.stream) {
                bytes += size;
                together.push(queued);
            } else {
                waiting.push_back(queued);
            }
        }
        together
    }

    /// Inserts commits one behind the other. Returns those that weren't tried, as one before them was refused.
    async fn insert_together(&self, number: u16, together: Vec<Queued>) -> Vec<Queued> {
        let head = match self.head(number).await {
            Ok(head) => head,
            Err(error) => {
                together.into_iter().for_each(|queued| queued.end(Outcome::Failed(error.to_string())));
                return Vec::new();
            }
        };
        let (mut commits, mut callers) = (Vec::new(), Vec::new());
        for Queued { mut commit, sent, answer } in together {
            let before = sent.swap(true, Ordering::SeqCst);
            // Looked at in this order: who has gone by now may have been told that nothing was sent.
            fence(Ordering::SeqCst);
            if answer.is_closed() {
                continue;
            }
            // Recomputed at each try.
            commit.position.n = head + 1 + i64::try_from(commits.len()).unwrap_or(i64::MAX);
            commits.push(commit);
            callers.push((sent, before, answer));
        }
        if commits.is_empty() {
            return Vec::new();
        }
        fail::fail_point!("event_log::insert");
        let (made, error) = match self.server.insert(&commits).await {
            Ok(()) => (commits.len(), None),
            Err(InsertFailure { made, error }) => (made, Some(error)),
        };
        fail::fail_point!("event_log::acknowledged");
        let mut untried = Vec::new();
        for (at, (commit, (sent, before, answer))) in commits.into_iter().zip(callers).enumerate() {
            let n = commit.position.n;
            let outcome = match &error {
                Some(InsertError::Duplicate) if at > made => {
                    sent.store(before, Ordering::SeqCst);
                    untried.push(Queued { commit, sent, answer });
                    continue;
                }
                Some(error) if at >= made => {
                    if matches!(error, InsertError::NotSent(_)) {
                        sent.store(before, Ordering::SeqCst);
                    }
                    Outcome::Failed(error.to_string())
                }
                _ => {
                    self.stands(&commit);
                    Outcome::Made
                }
            };
            answer.send(Answer { n, outcome }).ok();
        }
        if !untried.is_empty() {
            self.look_at(number, head + 1 + i64::try_from(made).unwrap_or(i64::MAX)).await;
        }
        untried
    }

    /// Looks whether a position is taken, so that what comes next doesn't go there.
    async fn look_at(&self, number: u16, n: i64) {
        if let Ok(Some(_)) = self.server.by_position(number, n).await {
            self.partition(number).taken(n);
        }
    }

    /// Whether the stream is known to have gone on since the commit was decided.
    pub(super) fn is_overtaken(&self, commit: &Commit) -> bool {
        self.options.checks_boundaries()
            && self.ends.get(&commit.stream).is_some_and(|end| end >= first_version(commit))
    }
}

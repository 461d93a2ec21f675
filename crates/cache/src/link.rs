//! How the caches of a process reach the remote tier: writes that fail are queued, and nothing is read until they are done.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::local::{Tags, kind_tag};
use crate::queue::{Debt, Queue};
use crate::remote::{Item, LinkState, Remote, Unreachable};

/// How many writes are under way at once while the queue is drained.
const AT_ONCE: usize = 64;
/// How many such rounds there are at most; the next try goes on.
const ROUNDS: usize = 1_000;

/// The remote tier, if there is one, and what it must still be told.
pub(crate) struct Link {
    remote: Option<Arc<dyn Remote>>,
    queue: Queue,
}

/// What became of a value that was written through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It lies in the remote tier, or there is none.
    Stored,
    /// Something newer lies there, or nothing: then the value must be loaded.
    Refused,
    /// It could not be written; a tombstone of its version is owed.
    Owed,
}

impl Link {
    pub(crate) fn new(remote: Option<Arc<dyn Remote>>) -> Self {
        Self { remote, queue: Queue::default() }
    }

    /// The remote tier, whatever its state.
    pub(crate) fn remote(&self) -> Option<&Arc<dyn Remote>> {
        self.remote.as_ref()
    }

    /// The remote tier, if it may be read from.
    pub(crate) fn readable(&self) -> Option<&dyn Remote> {
        self.remote.as_deref().filter(|remote| remote.state() == LinkState::Up)
    }

    /// Whether changes by other processes are told.
    pub(crate) fn is_tracking(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.is_tracking())
    }

    /// Notes that all kinds must get a new version before anything is read again.
    pub(crate) fn owe_everything(&self) {
        self.queue.owe_everything();
    }

    /// How many invalidations wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Writes a tombstone, now or later.
    pub(crate) async fn tombstone(&self, kind: &'static str, key: &str, version: Option<u64>) {
        let Some(remote) = &self.remote else { return };
        let done = match remote.state() {
            LinkState::Down => Err(away()),
            LinkState::CatchingUp | LinkState::Up => remote.tombstone(kind, key, version).await,
        };
        if let Err(error) = done {
            self.queue.owe_key(kind, key, version);
            // Also while it is down: should it come up in this moment, it has not seen the queue.
            remote.distrust(&format!("an invalidation of {kind} was not written: {error}"));
        }
    }

    /// Gives a tag a new version, now or later. Returns whether it was now.
    pub(crate) async fn bump(&self, tag: &str, cause: Option<&str>) -> bool {
        let Some(remote) = &self.remote else { return true };
        let done = match remote.state() {
            LinkState::Down => Err(away()),
            LinkState::CatchingUp | LinkState::Up => remote.bump(tag, cause).await,
        };
        let Err(error) = done else { return true };
        self.queue.owe_tag(tag);
        remote.distrust(&format!("an invalidation of the tag {tag} was not written: {error}"));
        false
    }

    /// Writes a value through. `item` makes it from the versions of its tags; `None` when it is too big: then a tombstone is written.
    pub(crate) async fn put(
        &self,
        kind: &'static str,
        key: &str,
        version: u64,
        tags: &Arc<Tags>,
        item: impl FnOnce(Vec<u64>) -> Option<Item> + Send,
    ) -> Put {
        let Some(remote) = &self.remote else { return Put::Stored };
        let done = match remote.state() {
            LinkState::Down => Err(away()),
            LinkState::CatchingUp | LinkState::Up => match versions(&**remote, tags).await.map(item) {
                Ok(Some(item)) => remote.put(kind, key, item).await,
                Ok(None) => remote.tombstone(kind, key, Some(version)).await.map(|_| false),
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(true) => Put::Stored,
            Ok(false) => Put::Refused,
            Err(error) => {
                // Not the value: it may be outdated by then.
                self.queue.owe_key(kind, key, Some(version));
                remote.distrust(&format!("a value of {kind} was not written: {error}"));
                Put::Owed
            }
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// A sentence, when something could not be written; what was not written still waits.
    pub(crate) async fn drain(&self, kinds: &[&'static str]) -> Result<(), String> {
        let Some(remote) = &self.remote else { return Ok(()) };
        for _ in 0..ROUNDS {
            let debts = self.queue.some(AT_ONCE);
            if debts.is_empty() {
                return Ok(());
            }
            // Collected before they are awaited, so that no closure is held meanwhile.
            let writes: Vec<_> = debts.iter().map(|debt| pay(&**remote, debt, kinds)).collect();
            let done = join_all(writes).await;
            let mut problem = None;
            for (debt, done) in debts.iter().zip(done) {
                match done {
                    Ok(()) => self.queue.settle(debt),
                    Err(error) => problem = Some(error),
                }
            }
            if let Some(error) = problem {
                return Err(format!("invalidations could not be written, {} wait: {error}", self.queue.len()));
            }
        }
        Err(format!("invalidations come faster than they are written, {} wait", self.queue.len()))
    }
}

fn away() -> Unreachable {
    Unreachable("it is away".to_owned())
}

/// Writes one thing that was owed.
async fn pay(remote: &dyn Remote, debt: &Debt, kinds: &[&'static str]) -> Result<(), Unreachable> {
    match debt {
        Debt::Key { kind, key, owed } => {
            if owed.version.is_some() {
                remote.tombstone(kind, key, owed.version).await?;
            }
            if owed.is_unversioned {
                remote.tombstone(kind, key, None).await?;
            }
        }
        Debt::Tag(tag) => {
            remote.bump(tag, None).await?;
        }
        Debt::Everything(_) => {
            for kind in kinds {
                remote.bump(&kind_tag(kind), None).await?;
            }
        }
    }
    Ok(())
}

/// The versions of an entry's tags: those that were heard while changes are told, else those that the remote tier gives (CA-6).
pub(crate) async fn versions(remote: &dyn Remote, tags: &Arc<Tags>) -> Result<Vec<u64>, Unreachable> {
    let is_tracking = remote.is_tracking();
    if is_tracking && let Some(heard) = tags.heard() {
        return Ok(heard);
    }
    let stamp = tags.stamp();
    let versions = remote.tags(tags.names()).await?;
    if versions.len() != tags.names().len() {
        return Err(Unreachable(format!("it gave {} versions of {} tags", versions.len(), tags.names().len())));
    }
    if is_tracking {
        tags.hear(&stamp, &versions);
    }
    Ok(versions)
}

/// Whether the tags of an entry still have the versions that it has of them (CA-6).
pub(crate) async fn are_current(
    remote: &dyn Remote,
    tags: &Arc<Tags>,
    of_entry: &[(String, u64)],
) -> Result<bool, Unreachable> {
    if remote.is_tracking()
        && let Some(are_same) = tags.agree(of_entry.iter().map(|(_, version)| *version))
    {
        return Ok(are_same);
    }
    let current = versions(remote, tags).await?;
    Ok(of_entry.iter().map(|(_, version)| *version).eq(current))
}

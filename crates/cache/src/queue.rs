//! Invalidations that the remote tier must still be told, within a bound.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// How many keys and tags may wait. When there are more, every kind is dropped instead.
const MAX_QUEUED: usize = 10_000;

/// What is owed to the remote tier.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    keys: HashMap<(&'static str, Arc<str>), Owed>,
    tags: HashSet<Arc<str>>,
    /// How often everything had to be dropped, such as when the bound was met; it must be if it had to since the last time.
    overflows: u64,
    settled_overflows: u64,
}

/// The tombstones that a key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Owed {
    /// One of the highest version that was committed meanwhile.
    pub(crate) version: Option<u64>,
    /// One over whatever lies there.
    pub(crate) is_unversioned: bool,
}

/// Something that is to be written; it stays in the queue until it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Debt {
    /// Tombstones of a key.
    Key { kind: &'static str, key: Arc<str>, owed: Owed },
    /// A new version of a tag.
    Tag(Arc<str>),
    /// A new version of all kinds; with the number of overflows that it settles.
    Everything(u64),
}

impl Queue {
    /// Notes a key that must be invalidated.
    pub(crate) fn owe_key(&self, kind: &'static str, key: &str, version: Option<u64>) {
        self.with(|pending| {
            let owed = pending.keys.entry((kind, key.into())).or_default();
            owed.version = owed.version.max(version);
            owed.is_unversioned |= version.is_none();
            pending.bound();
        });
    }

    /// Notes a tag that must get a new version.
    pub(crate) fn owe_tag(&self, tag: &str) {
        self.with(|pending| {
            pending.tags.insert(tag.into());
            pending.bound();
        });
    }

    /// Notes that all kinds must get a new version.
    pub(crate) fn owe_everything(&self) {
        self.with(|pending| pending.overflows += 1);
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.with(|pending| pending.len())
    }

    /// Up to `most` of what waits.
    pub(crate) fn some(&self, most: usize) -> Vec<Debt> {
        self.with(|pending| {
            let everything =
                (pending.overflows > pending.settled_overflows).then_some(Debt::Everything(pending.overflows));
            let tags = pending.tags.iter().map(|tag| Debt::Tag(Arc::clone(tag)));
            let keys = pending.keys.iter();
            let keys = keys.map(|((kind, key), owed)| Debt::Key { kind, key: Arc::clone(key), owed: *owed });
            everything.into_iter().chain(tags).chain(keys).take(most).collect()
        })
    }

    /// Takes out what was written, unless more is owed meanwhile.
    pub(crate) fn settle(&self, debt: &Debt) {
        self.with(|pending| match debt {
            Debt::Key { kind, key, owed } => {
                let place = (*kind, Arc::clone(key));
                if pending.keys.get(&place) == Some(owed) {
                    pending.keys.remove(&place);
                }
            }
            Debt::Tag(tag) => {
                pending.tags.remove(tag);
            }
            Debt::Everything(overflows) => pending.settled_overflows = pending.settled_overflows.max(*overflows),
        });
    }

    fn with<R>(&self, work: impl FnOnce(&mut Pending) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.keys.len() + self.tags.len() + usize::from(self.overflows > self.settled_overflows)
    }

    fn bound(&mut self) {
        if self.keys.len() + self.tags.len() > MAX_QUEUED {
            self.overflows += 1;
            self.keys.clear();
            self.tags.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(queue: &Queue) -> Owed {
        let [Debt::Key { owed, .. }] = queue.some(9)[..] else { panic!("one key was owed: {queue:?}") };
        owed
    }

    #[test]
    fn a_key_is_owed_once_by_its_highest_version() {
        let queue = Queue::default();
        for version in [Some(3), Some(7), Some(5)] {
            queue.owe_key("users", "anna", version);
        }
        assert_eq!(key(&queue), Owed { version: Some(7), is_unversioned: false });
        queue.owe_key("users", "anna", None);
        assert_eq!(key(&queue), Owed { version: Some(7), is_unversioned: true });
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn what_was_owed_again_while_it_was_written_stays() {
        let queue = Queue::default();
        queue.owe_key("users", "anna", Some(1));
        let written = queue.some(9);
        queue.owe_key("users", "anna", Some(2));
        queue.settle(&written[0]);
        assert_eq!(key(&queue).version, Some(2));
        queue.settle(&queue.some(9)[0]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn when_too_much_waits_all_kinds_are_owed_instead() {
        let queue = Queue::default();
        for n in 0..=MAX_QUEUED {
            queue.owe_key("users", &n.to_string(), None);
        }
        assert_eq!(queue.some(9), [Debt::Everything(1)]);
        queue.owe_tag("red");
        assert_eq!(queue.some(9), [Debt::Everything(1), Debt::Tag("red".into())]);
        assert_eq!(queue.some(1).len(), 1);
        for debt in queue.some(9) {
            queue.settle(&debt);
        }
        assert_eq!(queue.len(), 0);
    }
}

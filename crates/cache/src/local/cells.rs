//! Generations: what drops many entries at once, without looking for them (CA-6).
//!
//! There is a cell for all entries, one per kind and one per tag. An entry carries the generations of before its fill began, and
//! is valid while they are those of now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What a kind is called among the tags.
pub(crate) fn kind_tag(kind: &str) -> String {
    format!("kind:{kind}")
}

/// One generation, and the tag's version in the remote tier as it was last heard.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    generation: AtomicU64,
    remote: Mutex<Option<Heard>>,
}

/// A version of a tag in the remote tier: right as long as these are the generations.
#[derive(Clone, Copy, Debug)]
struct Heard {
    all: u64,
    own: u64,
    version: u64,
}

impl Cell {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn advance(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

/// All cells of a process. Those of tags are made by readers and writers alone, so that their number is that of the tags in the
/// program's text.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    all: Arc<Cell>,
    tags: RwLock<HashMap<String, Arc<Cell>>>,
}

impl Cells {
    /// Drops everything.
    pub(crate) fn advance_all(&self) {
        self.all.advance();
    }

    /// Drops what has a tag.
    pub(crate) fn advance(&self, tag: &str) {
        let tags = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = tags.get(tag) {
            cell.advance();
        }
    }

    /// The tags of an entry: that of its kind and its own.
    pub(crate) fn tags(&self, kind_tag: &str, own: &[&'static str]) -> Arc<Tags> {
        let names: Vec<String> = std::iter::once(kind_tag).chain(own.iter().copied()).map(str::to_owned).collect();
        let cells = std::iter::once(Arc::clone(&self.all)).chain(names.iter().map(|name| self.cell(name))).collect();
        Arc::new(Tags { names, cells })
    }

    fn cell(&self, tag: &str) -> Arc<Cell> {
        if let Some(cell) = self.tags.read().unwrap_or_else(PoisonError::into_inner).get(tag) {
            return Arc::clone(cell);
        }
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tags.entry(tag.to_owned()).or_default())
    }
}

/// The tags of entries with their cells; all entries with the same tags share them.
#[derive(Debug)]
pub(crate) struct Tags {
    names: Vec<String>,
    /// First that of everything, then those of the names.
    cells: Vec<Arc<Cell>>,
}

impl Tags {
    /// What they are called; the kind's comes first.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether these are the tags beside the kind's.
    pub(crate) fn are(&self, own: &[&'static str]) -> bool {
        self.names.iter().skip(1).map(String::as_str).eq(own.iter().copied())
    }

    /// The generations of now.
    pub(crate) fn stamp(self: &Arc<Self>) -> Stamp {
        let mut of_now = self.cells.iter().map(|cell| cell.generation());
        let generations = if self.cells.len() <= FEW {
            Generations::Few(std::array::from_fn(|_| of_now.next().unwrap_or_default()))
        } else {
            Generations::Many(of_now.collect())
        };
        Stamp { tags: Arc::clone(self), generations }
    }

    /// The versions in the remote tier, if all were heard and nothing was told since.
    pub(crate) fn heard(&self) -> Option<Vec<u64>> {
        self.each_heard().collect()
    }

    /// Whether these are the versions in the remote tier, one for each name; `None` unless all were heard and nothing was told
    /// since.
    pub(crate) fn agree(&self, versions: impl Iterator<Item = u64>) -> Option<bool> {
        let mut are_same = true;
        for (heard, version) in self.each_heard().zip(versions) {
            are_same &= heard? == version;
        }
        Some(are_same)
    }

    fn each_heard(&self) -> impl Iterator<Item = Option<u64>> {
        let all = self.cells.first().map_or(0, |all| all.generation());
        self.cells.iter().skip(1).map(move |cell| {
            let heard = (*cell.remote.lock().unwrap_or_else(PoisonError::into_inner))?;
            (heard.all == all && heard.own == cell.generation()).then_some(heard.version)
        })
    }

    /// Notes the versions that the remote tier gave after `stamp` was taken.
    pub(crate) fn hear(&self, stamp: &Stamp, versions: &[u64]) {
        let Some((all, own)) = stamp.generations().split_first() else { return };
        for ((cell, own), version) in self.cells.iter().skip(1).zip(own).zip(versions) {
            let heard = Heard { all: *all, own: *own, version: *version };
            *cell.remote.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
    }
}

/// How many generations a stamp holds in itself: those of everything, of the kind, and of two tags.
const FEW: usize = 4;

/// The generations of an entry's cells at one moment: first that of everything, then those of its tags.
#[derive(Debug)]
pub(crate) struct Stamp {
    tags: Arc<Tags>,
    generations: Generations,
}

#[derive(Debug)]
enum Generations {
    /// As many as there are cells, then zeros.
    Few([u64; FEW]),
    Many(Box<[u64]>),
}

impl Stamp {
    /// Whether they still are those of now.
    pub(crate) fn is_current(&self) -> bool {
        self.tags.cells.iter().zip(self.generations()).all(|(cell, generation)| cell.generation() == *generation)
    }

    /// One for each cell at least.
    fn generations(&self) -> &[u64] {
        match &self.generations {
            Generations::Few(generations) => generations,
            Generations::Many(generations) => generations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_6_each_cell_of_an_entry_drops_it_and_no_other_does() {
        let cells = Cells::default();
        let tags = cells.tags("kind:a", &["red"]);
        assert!(tags.are(&["red"]) && !tags.are(&[]) && !tags.are(&["blue"]) && !tags.are(&["red", "blue"]));
        for (tag, is_current) in [(Some("red"), false), (Some("kind:a"), false), (None, false), (Some("blue"), true)] {
            let stamp = tags.stamp();
            assert!(stamp.is_current());
            match tag {
                Some(tag) => cells.advance(tag),
                None => cells.advance_all(),
            }
            assert_eq!(stamp.is_current(), is_current, "{tag:?}");
        }
    }

    #[test]
    fn ca_6_each_of_many_tags_drops_an_entry() {
        let cells = Cells::default();
        let own = ["a", "b", "c", "d", "e"];
        let tags = cells.tags("kind:a", &own);
        for tag in own {
            let stamp = tags.stamp();
            assert!(stamp.is_current());
            cells.advance(tag);
            assert!(!stamp.is_current(), "{tag}");
        }
    }

    #[test]
    fn ca_6_a_version_that_was_heard_holds_until_something_is_told() {
        let cells = Cells::default();
        let tags = cells.tags("kind:a", &["red"]);
        assert_eq!((tags.heard(), tags.agree([3, 4].into_iter())), (None, None));
        tags.hear(&tags.stamp(), &[3, 4]);
        assert_eq!(tags.heard(), Some(vec![3, 4]));
        assert_eq!(tags.agree([3, 4].into_iter()), Some(true));
        assert_eq!(tags.agree([2, 4].into_iter()), Some(false));
        cells.advance("red");
        assert_eq!(tags.agree([2, 4].into_iter()), None);
        assert_eq!(tags.heard(), None);
        let before = tags.stamp();
        cells.advance_all();
        tags.hear(&before, &[3, 5]);
        assert_eq!(tags.heard(), None, "it was asked before");
    }
}

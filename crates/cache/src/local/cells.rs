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
    pub(crate) fn tags(&self, kind_tag: &str, own: &[&'static str]) -> Tags {
        let names: Vec<String> = std::iter::once(kind_tag).chain(own.iter().copied()).map(str::to_owned).collect();
        let cells = names.iter().map(|name| self.cell(name)).collect();
        Tags { all: Arc::clone(&self.all), names, cells }
    }

    fn cell(&self, tag: &str) -> Arc<Cell> {
        if let Some(cell) = self.tags.read().unwrap_or_else(PoisonError::into_inner).get(tag) {
            return Arc::clone(cell);
        }
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tags.entry(tag.to_owned()).or_default())
    }
}

/// The tags of one entry with their cells.
#[derive(Clone, Debug)]
pub(crate) struct Tags {
    all: Arc<Cell>,
    names: Vec<String>,
    cells: Vec<Arc<Cell>>,
}

impl Tags {
    /// What they are called; the kind's comes first.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The generations of now.
    pub(crate) fn stamp(&self) -> Stamp {
        let cells = std::iter::once(&self.all).chain(&self.cells);
        Stamp(cells.map(|cell| (Arc::clone(cell), cell.generation())).collect())
    }

    /// The versions in the remote tier, if all were heard and nothing was told since.
    pub(crate) fn heard(&self) -> Option<Vec<u64>> {
        let all = self.all.generation();
        let heard = |cell: &Arc<Cell>| {
            let heard = (*cell.remote.lock().unwrap_or_else(PoisonError::into_inner))?;
            (heard.all == all && heard.own == cell.generation()).then_some(heard.version)
        };
        self.cells.iter().map(heard).collect()
    }

    /// Notes the versions that the remote tier gave after `stamp` was taken.
    pub(crate) fn hear(&self, stamp: &Stamp, versions: &[u64]) {
        let Some(((_, all), own)) = stamp.0.split_first() else { return };
        for ((cell, (_, own)), version) in self.cells.iter().zip(own).zip(versions) {
            let heard = Heard { all: *all, own: *own, version: *version };
            *cell.remote.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
    }
}

/// The generations of an entry's cells at one moment: first that of everything, then those of its tags.
#[derive(Debug)]
pub(crate) struct Stamp(Box<[(Arc<Cell>, u64)]>);

impl Stamp {
    /// Whether they still are those of now.
    pub(crate) fn is_current(&self) -> bool {
        self.0.iter().all(|(cell, generation)| cell.generation() == *generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_6_each_cell_of_an_entry_drops_it_and_no_other_does() {
        let cells = Cells::default();
        let tags = cells.tags("kind:a", &["red"]);
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
    fn ca_6_a_version_that_was_heard_holds_until_something_is_told() {
        let cells = Cells::default();
        let tags = cells.tags("kind:a", &["red"]);
        assert_eq!(tags.heard(), None);
        tags.hear(&tags.stamp(), &[3, 4]);
        assert_eq!(tags.heard(), Some(vec![3, 4]));
        cells.advance("red");
        assert_eq!(tags.heard(), None);
        let before = tags.stamp();
        cells.advance_all();
        tags.hear(&before, &[3, 5]);
        assert_eq!(tags.heard(), None, "it was asked before");
    }
}

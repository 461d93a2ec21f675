//! The rows of histories that have yet to be compared with those at the new owner.

use std::collections::{BTreeMap, BTreeSet};

/// Which rows of the tables whose rows the new owner must have, beside others of its own, may not be there as they are. At first that
/// is any of them; once all were compared, it is those that weren't there and those that were written since, by the log.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// By the number of the table: the primary keys. `None` before all rows were compared once.
    keys: Option<BTreeMap<usize, BTreeSet<String>>>,
}

impl Unsettled {
    /// Whether all rows were compared once, so that the keys name all that are left.
    pub fn is_listed(&self) -> bool {
        self.keys.is_some()
    }

    /// These rows of a table were written. Noted before the log forgets it.
    pub fn written(&mut self, table: usize, keys: &[String]) {
        if let Some(known) = &mut self.keys {
            known.entry(table).or_default().extend(keys.iter().cloned());
        }
    }

    /// What is left of a table.
    pub fn of(&self, table: usize) -> Vec<String> {
        let keys = self.keys.as_ref().and_then(|keys| keys.get(&table));
        keys.into_iter().flatten().cloned().collect()
    }

    /// A comparison has left these.
    pub fn settle(&mut self, left: BTreeMap<usize, BTreeSet<String>>) {
        self.keys = Some(left);
    }

    /// All rows are to be compared again.
    pub fn reset(&mut self) {
        self.keys = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_since_the_comparison_of_all_is_left() {
        let mut unsettled = Unsettled::default();
        unsettled.written(1, &["a".to_owned()]);
        assert!(!unsettled.is_listed(), "what was written before is compared with all");
        unsettled.settle(BTreeMap::from([(1, BTreeSet::from(["b".to_owned()]))]));
        unsettled.written(1, &["c".to_owned(), "b".to_owned()]);
        unsettled.written(2, &["d".to_owned()]);
        assert_eq!((unsettled.of(1), unsettled.of(2)), (vec!["b".to_owned(), "c".to_owned()], vec!["d".to_owned()]));
        assert!(unsettled.is_listed() && unsettled.of(3).is_empty());
        unsettled.reset();
        assert!(!unsettled.is_listed() && unsettled.of(1).is_empty());
    }
}

//! The bookkeeping in Redis that this process relies on. It is hardly ever read, and would be evicted before values are.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// There are a few tags and sources in a program. What is beyond that may be evicted, which costs misses.
const MOST: usize = 256;

/// The names of tags and marks that were read or written.
#[derive(Debug, Default)]
pub(super) struct Used(RwLock<HashSet<String>>);

impl Used {
    /// Takes note of some.
    pub fn note(&self, names: &[String]) {
        {
            let used = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if used.len() >= MOST || names.iter().all(|name| used.contains(name)) {
                return;
            }
        }
        let mut used = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if used.len() < MOST {
                used.insert(name.clone());
            }
        }
    }

    /// All of them.
    pub fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_noted_once_and_not_too_many_are() {
        let used = Used::default();
        assert!(used.names().is_empty());
        for _ in 0..2 {
            used.note(&["a".to_owned(), "b".to_owned()]);
        }
        assert_eq!(used.names().len(), 2);
        let many: Vec<String> = (0..2 * MOST).map(|i| i.to_string()).collect();
        used.note(&many);
        used.note(&many);
        assert_eq!(used.names().len(), MOST);
    }
}

//! Words that come again and again, each kept once.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::audit::evidence::Name;

/// The words that have come.
#[derive(Default)]
pub struct Names(RefCell<HashSet<Name>>);

impl Names {
    /// A word, shared with where it came before.
    pub fn of(&self, word: &str) -> Name {
        let mut known = self.0.borrow_mut();
        if let Some(name) = known.get(word) {
            return name.clone();
        }
        let name = Name::from(word);
        known.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Names;

    #[test]
    fn a_word_that_comes_again_is_the_same() {
        let names = Names::default();
        assert!(Arc::ptr_eq(&names.of("orders/1"), &names.of("orders/1")));
        assert_ne!(names.of("orders/1"), names.of("orders/2"));
    }
}

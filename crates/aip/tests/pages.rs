//! Whatever is inserted between two pages of a list, each old item is on one of them, and on one only.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use meshwork_aip::Violations;
use meshwork_aip::page::{self, Page};
use proptest::prelude::*;

/// A page of the list as a server of one would answer it, at most of `bytes`: its items and the token of the next.
fn list(items: &BTreeSet<u16>, size: i32, bytes: usize, token: &str) -> (Vec<u16>, String) {
    let mut violations = Violations::new();
    let wanted = page::read(size, token, &["a filter"], &mut violations);
    violations.finish("tests.meshwork.dev").unwrap();
    let after = wanted.after.map(|cursor| cursor.parse::<u16>().unwrap());
    let behind = items.iter().copied().filter(|item| after.is_none_or(|after| *item > after));
    let found: Vec<u16> = behind.take(wanted.size + 1).collect();
    let page = Page::cut_within(bytes, found, wanted.size, ToString::to_string, |item| usize::from(item % 50));
    (page.items, page::token(page.next.as_deref(), &["a filter"]))
}

proptest! {
    #[test]
    fn each_old_item_is_shown_once_whatever_is_inserted_meanwhile(
        old in prop::collection::btree_set(any::<u16>(), 0..60),
        inserted in prop::collection::vec(any::<u16>(), 0..60),
        size in 1..10_i32,
        bytes in 0..200_usize,
    ) {
        let (mut items, mut inserted) = (old.clone(), inserted.into_iter());
        let (mut shown, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = list(&items, size, bytes, &token);
            prop_assert!(page.len() <= usize::try_from(size).unwrap());
            prop_assert!(next.is_empty() || !page.is_empty());
            shown.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
            items.extend(inserted.by_ref().take(2));
        }
        let once: BTreeSet<_> = shown.iter().copied().collect();
        prop_assert_eq!(once.len(), shown.len());
        prop_assert!(old.is_subset(&once));
    }
}

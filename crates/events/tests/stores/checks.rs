//! What must hold, for what is shipped and for planted bugs alike.

use std::collections::BTreeMap;

/// The versions that were applied, by aggregate, in the order in which they were.
pub(crate) type Applied = BTreeMap<String, Vec<i64>>;

/// Whether each aggregate's events from the first to the last expected one were applied once, in order (I9).
pub(crate) fn each_once_in_order(applied: &Applied, expected: &[(&str, i64)]) -> Result<(), String> {
    for (subject, versions) in applied {
        if !expected.iter().any(|(known, _)| known == subject) {
            return Err(format!("nobody told of {subject}, and yet there are {versions:?}"));
        }
    }
    for (subject, last) in expected {
        let versions = applied.get(*subject).map(Vec::as_slice).unwrap_or_default();
        if !versions.iter().copied().eq(1..=*last) {
            return Err(format!("{subject} should have come to {last}, each once and in order: {versions:?}"));
        }
    }
    Ok(())
}

/// Whether a follower has seen what was appended, each once, and each writer's in its order (I7, I8).
pub(crate) fn all_seen(seen: &[(String, i64)], expected: &[(&str, i64)]) -> Result<(), String> {
    let mut applied = Applied::new();
    for (subject, version) in seen {
        applied.entry(subject.clone()).or_default().push(*version);
    }
    each_once_in_order(&applied, expected)
}

#[test]
fn the_checks_see_what_they_are_for() {
    let applied = |versions: &[i64]| Applied::from([("a".to_owned(), versions.to_vec())]);
    each_once_in_order(&applied(&[1, 2, 3]), &[("a", 3)]).unwrap();
    for broken in [&[1, 2][..], &[1, 2, 2, 3], &[1, 3, 2], &[2, 3], &[1, 3], &[], &[1, 2, 3, 4]] {
        each_once_in_order(&applied(broken), &[("a", 3)]).unwrap_err();
    }
    each_once_in_order(&applied(&[1]), &[]).unwrap_err();
}

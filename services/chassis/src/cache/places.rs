//! How far the partitions of an outbox have been followed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last position of each partition.
pub(super) type Heads = BTreeMap<u16, i64>;

/// How far everything that was announced is dropped from every tier, by partition.
#[derive(Default)]
pub(super) struct Places(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Up to where everything was dropped while the remote tier took it.
    followed: Heads,
    /// Up to where that is noted in the remote tier.
    noted: Heads,
}

impl Places {
    /// Whether nothing is known yet.
    pub fn are_unknown(&self) -> bool {
        self.known().followed.is_empty()
    }

    /// Up to where a partition was followed, if that is known.
    pub fn followed(&self, partition: u16) -> Option<i64> {
        self.known().followed.get(&partition).copied()
    }

    /// A partition was followed up to `n`; whether that isn't noted yet.
    pub fn reached(&self, partition: u16, n: i64) -> bool {
        let mut known = self.known();
        let followed = known.followed.entry(partition).or_default();
        *followed = n.max(*followed);
        let followed = *followed;
        known.noted.get(&partition) != Some(&followed)
    }

    /// It is noted that a partition was followed up to `n`.
    pub fn noted(&self, partition: u16, n: i64) {
        self.known().noted.insert(partition, n);
    }

    /// Everything was followed up to `heads`, from what was noted.
    pub fn caught_up(&self, heads: &Heads, noted: Heads) {
        let mut known = self.known();
        for (partition, head) in heads {
            let followed = known.followed.entry(*partition).or_default();
            *followed = (*head).max(*followed);
        }
        known.noted = noted;
    }

    /// Everything was dropped; what was announced behind `heads` is to be followed. A database that was put back to an older copy has
    /// ends that lie before where it was followed to.
    pub fn begin_at(&self, heads: Heads) {
        *self.known() = Known { followed: heads, noted: Heads::new() };
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the marks of a source don't tell where to go on, of a partition whose mark and last position these are; `None` when they do.
/// More than `most` events are not worth it: everything is dropped instead.
pub(super) fn problem(mark: Option<i64>, head: i64, most: i64) -> Option<&'static str> {
    match mark {
        None => Some("it isn't noted how far the outbox was followed"),
        Some(mark) if mark > head => {
            Some("the outbox ends before what was followed; its database was put back to an older copy")
        }
        Some(mark) if head - mark > most => Some("more was announced than is worth to be gone through"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_3_marks_lead_on_unless_they_are_missing_ahead_or_far_behind() {
        assert_eq!(problem(Some(7), 7, 10), None);
        assert_eq!(problem(Some(0), 10, 10), None);
        for (mark, head) in [(None, 0), (None, 7), (Some(8), 7), (Some(0), 11)] {
            assert!(problem(mark, head, 10).is_some(), "{mark:?} {head}");
        }
    }

    #[test]
    fn what_is_followed_never_goes_back_but_by_beginning_anew() {
        let places = Places::default();
        assert!(places.are_unknown() && places.followed(1).is_none());
        places.begin_at(Heads::from([(1, 5), (2, 0)]));
        assert!(places.reached(1, 5), "it isn't noted");
        places.noted(1, 5);
        assert!(!places.reached(1, 5) && !places.reached(1, 4));
        assert!(places.reached(1, 6));
        places.caught_up(&Heads::from([(1, 3), (2, 9)]), Heads::from([(1, 6), (2, 1)]));
        assert_eq!((places.followed(1), places.followed(2)), (Some(6), Some(9)));
        assert!(!places.reached(1, 6) && places.reached(2, 9));
        places.begin_at(Heads::from([(1, 2)]));
        assert_eq!((places.followed(1), places.followed(2)), (Some(2), None));
    }
}

//! How far the partitions of an outbox have been followed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::history::Place;

/// A place in each partition.
pub(super) type Followed = BTreeMap<u16, Place>;

/// How far everything that was announced is dropped from every tier, by partition.
#[derive(Default)]
pub(super) struct Places(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often they have begun anew. What began before that tells nothing of them.
    turn: u64,
    /// Up to where everything was dropped; `None` while that isn't known.
    followed: Option<Followed>,
    /// Up to where that is noted in the remote tier.
    noted: Followed,
}

impl Places {
    /// For what will tell of them later.
    pub fn turn(&self) -> u64 {
        self.known().turn
    }

    /// Up to where everything was followed, if that is known, and the turn.
    pub fn followed(&self) -> Option<(u64, Followed)> {
        let known = self.known();
        Some((known.turn, known.followed.clone()?))
    }

    /// A partition was followed up to `place`; whether that isn't noted yet.
    pub fn reached(&self, turn: u64, partition: u16, place: Place) -> bool {
        let mut known = self.known();
        if known.turn != turn {
            return false;
        }
        let Some(followed) = &mut known.followed else { return false };
        let last = followed.entry(partition).or_default();
        if place.n >= last.n {
            *last = place;
        }
        let last = *last;
        last == place && known.noted.get(&partition) != Some(&place)
    }

    /// It is noted that a partition was followed up to `place`.
    pub fn noted(&self, turn: u64, partition: u16, place: Place) {
        let mut known = self.known();
        if known.turn == turn {
            known.noted.insert(partition, place);
        }
    }

    /// Everything was followed up to `reached`, from what was noted.
    pub fn caught_up(&self, turn: u64, reached: &Followed, noted: Followed) {
        let mut known = self.known();
        if known.turn != turn {
            return;
        }
        let followed = known.followed.get_or_insert_default();
        for (partition, place) in reached {
            let last = followed.entry(*partition).or_default();
            if place.n >= last.n {
                *last = *place;
            }
        }
        known.noted = noted;
    }

    /// Everything was dropped; what was announced behind `ends` is to be followed. A database that was put back to an older copy has
    /// ends that lie before where it was followed to.
    pub fn begin_at(&self, ends: Followed) {
        let mut known = self.known();
        *known = Known { turn: known.turn.wrapping_add(1), followed: Some(ends), noted: Followed::new() };
    }

    /// Nothing is known any more.
    pub fn forget(&self) {
        let mut known = self.known();
        *known = Known { turn: known.turn.wrapping_add(1), ..Known::default() };
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outbox ends before what was followed.
pub(super) const PUT_BACK: &str =
    "the outbox ends before what was followed; its database was put back to an older copy, or has lost commits";

/// Why the marks of a source don't tell where to go on, of a partition whose mark and last position these are; `None` when they do.
/// More than `most` events are not worth it: everything is dropped instead.
pub(super) fn problem(mark: Option<i64>, head: i64, most: i64) -> Option<&'static str> {
    match mark {
        None => Some("it isn't noted how far the outbox was followed"),
        Some(mark) if mark > head => Some(PUT_BACK),
        Some(mark) if head - mark > most => Some("more was announced than is worth to be gone through"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: i64) -> Place {
        Place { n, fingerprint: u64::try_from(n).unwrap() + 100 }
    }

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
        let at = |partition| places.followed().and_then(|(_, followed)| followed.get(&partition).copied());
        assert!(places.followed().is_none() && !places.reached(places.turn(), 1, place(5)));
        places.begin_at(Followed::from([(1, place(5)), (2, place(0))]));
        let turn = places.turn();
        assert!(places.reached(turn, 1, place(5)), "it isn't noted");
        places.noted(turn, 1, place(5));
        assert!(!places.reached(turn, 1, place(5)) && !places.reached(turn, 1, place(4)));
        assert!(places.reached(turn, 1, place(6)));
        let reached = Followed::from([(1, place(3)), (2, place(9))]);
        places.caught_up(turn, &reached, Followed::from([(1, place(6)), (2, place(1))]));
        assert_eq!((at(1), at(2)), (Some(place(6)), Some(place(9))));
        assert!(!places.reached(turn, 1, place(6)) && places.reached(turn, 2, place(9)));
        places.begin_at(Followed::from([(1, place(2))]));
        assert_eq!((at(1), at(2)), (Some(place(2)), None));
    }

    #[test]
    fn what_began_before_places_were_forgotten_tells_nothing_of_them() {
        let places = Places::default();
        places.begin_at(Followed::from([(1, place(5))]));
        let before = places.turn();
        places.forget();
        assert!(places.followed().is_none());
        assert!(!places.reached(before, 1, place(6)));
        places.caught_up(before, &Followed::from([(1, place(6))]), Followed::new());
        assert!(places.followed().is_none());
        places.begin_at(Followed::from([(1, place(2))]));
        assert!(!places.reached(before, 1, place(6)));
        places.noted(before, 1, place(2));
        assert!(places.reached(places.turn(), 1, place(2)), "it isn't noted");
    }
}

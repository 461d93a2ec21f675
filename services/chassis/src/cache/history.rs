//! Whether an outbox still has the history that was followed: a database that was put back to an older copy, or a promoted one that
//! lacks the last commits, gives positions again.

use std::collections::BTreeMap;

use meshwork_events::{Envelope, SourceBatch};
use meshwork_sql::to_micros;
use sha2::{Digest, Sha256};

/// A place in a partition: the last event that was followed. 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Its position.
    pub n: i64,
    /// What it says, in short; 0 where that isn't known.
    pub fingerprint: u64,
}

/// What the rows around a place say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// They go on behind it.
    Same,
    /// They do if there are none before it: those that are old are removed, from the beginning. Else there is a hole.
    SameIfFirst,
    /// They are another history, in a sentence.
    Changed(&'static str),
}

/// The rows of a batch: their positions, and what they say in short. Those that can't be read say nothing.
pub(super) fn rows(batch: &SourceBatch) -> BTreeMap<i64, u64> {
    let damaged = batch.damaged.iter().map(|damaged| (damaged.n, 0));
    damaged.chain(batch.events.iter().map(|event| (event.position.n, fingerprint(event)))).collect()
}

/// What an event says, in short: never 0. What was made anew may have the same id and content, at another time.
pub(super) fn fingerprint(event: &Envelope) -> u64 {
    let mut hash = Sha256::new();
    hash.update(event.id.as_bytes());
    hash.update([0]);
    hash.update(to_micros(event.time).to_be_bytes());
    hash.update(&event.data);
    let hash: [u8; 32] = hash.finalize().into();
    let first = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    first.max(1)
}

/// What was to be read isn't there.
pub(super) const REMOVED: &str =
    "events are missing from the outbox that were not read yet, or that others were followed behind";
/// What was read isn't there any more.
const REPLACED: &str = "the outbox has another event at the place that was followed to; its database has lost commits";

/// Whether rows, read from the one before `place` on, go on behind it.
pub(super) fn continuity(place: Place, rows: &BTreeMap<i64, u64>) -> Continuity {
    // All that are behind it, without a gap.
    let behind = i64::try_from(rows.range(place.n.saturating_add(1)..).count()).unwrap_or(i64::MAX);
    let last = rows.last_key_value().map_or(place.n, |(n, _)| *n).max(place.n);
    let has_hole = last > place.n.saturating_add(behind);
    if place.n == 0 {
        return if has_hole { Continuity::Changed(REMOVED) } else { Continuity::Same };
    }
    let has_before = place.n == 1 || rows.contains_key(&place.n.saturating_sub(1));
    match rows.get(&place.n) {
        Some(found) if *found != 0 && place.fingerprint != 0 && *found != place.fingerprint => {
            Continuity::Changed(REPLACED)
        }
        Some(_) if has_hole => Continuity::Changed(REMOVED),
        Some(_) if has_before => Continuity::Same,
        // A relay that goes on behind what the bus holds puts a copy of its last event here.
        Some(_) => Continuity::SameIfFirst,
        // The last one that was followed was old enough to be removed.
        None if behind > 0 && !has_hole => Continuity::SameIfFirst,
        None => Continuity::Changed(REMOVED),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meshwork_events::{Context, Damaged, Position};
    use time::{Duration, OffsetDateTime};

    use super::Continuity::{Same, SameIfFirst};
    use super::*;

    fn event(n: i64) -> Envelope {
        Envelope {
            id: Envelope::id_of("users/anna", n),
            source: "users".to_owned(),
            event_type: "user_updated".to_owned(),
            schema_version: 1,
            subject: "users/anna".to_owned(),
            version: n,
            position: Position { partition: 0, n, index: 0 },
            time: OffsetDateTime::UNIX_EPOCH,
            context: Context::default(),
            data: Bytes::from_static(b"data"),
        }
    }

    #[test]
    fn an_event_is_told_apart_by_its_id_its_time_and_its_data() {
        let one = event(7);
        assert_eq!(fingerprint(&one), fingerprint(&one.clone()));
        let later = Envelope { time: one.time + Duration::MICROSECOND, ..one.clone() };
        let other = Envelope { data: Bytes::from_static(b"other"), ..one.clone() };
        let all = [fingerprint(&one), fingerprint(&later), fingerprint(&other), fingerprint(&event(8))];
        for (at, one) in all.iter().enumerate() {
            assert!(*one != 0 && !all[..at].contains(one), "{all:?}");
        }
    }

    #[test]
    fn rows_that_cannot_be_read_are_rows() {
        let damaged = Damaged {
            subject: "users/anna".to_owned(),
            n: 2,
            version: None,
            time: OffsetDateTime::UNIX_EPOCH,
            problem: "a test".to_owned(),
        };
        let batch = SourceBatch { events: vec![event(1), event(3)], damaged: vec![damaged], seen: Some(3) };
        let expected = BTreeMap::from([(1, fingerprint(&event(1))), (2, 0), (3, fingerprint(&event(3)))]);
        assert_eq!(rows(&batch), expected);
    }

    #[test]
    fn ca_3_a_history_goes_on_behind_the_event_that_was_followed_and_behind_no_other() {
        let is = |n, fingerprint, rows: &[(i64, u64)]| {
            continuity(Place { n, fingerprint }, &rows.iter().copied().collect::<BTreeMap<_, _>>())
        };
        let is_changed =
            |n, fingerprint, rows: &[(i64, u64)]| matches!(is(n, fingerprint, rows), Continuity::Changed(_));
        // From the beginning.
        assert_eq!(is(0, 0, &[]), Same);
        assert_eq!(is(0, 0, &[(1, 11), (2, 12)]), Same);
        assert!(is_changed(0, 0, &[(2, 12)]));
        // Behind an event that is there.
        assert_eq!(is(1, 11, &[(1, 11), (2, 12)]), Same);
        assert_eq!(is(5, 15, &[(4, 14), (5, 15), (6, 16)]), Same);
        assert_eq!(is(5, 15, &[(4, 14), (5, 15)]), Same);
        assert!(is_changed(5, 15, &[(4, 14), (5, 99), (6, 16)]), "it is another one");
        assert!(is_changed(5, 15, &[(4, 14), (5, 15), (7, 17)]), "one is missing behind it");
        assert!(is_changed(5, 15, &[(4, 14), (5, 15), (6, 16), (9, 19), (10, 20)]), "some are missing further on");
        assert_eq!(is(5, 15, &[(4, 14), (5, 0), (6, 16)]), Same, "it can't be read");
        assert_eq!(is(5, 0, &[(4, 14), (5, 15), (6, 16)]), Same, "it could not be read before");
        // What came before it was removed, or is a hole.
        assert_eq!(is(5, 15, &[(5, 15), (6, 16)]), SameIfFirst);
        assert_eq!(is(5, 15, &[(6, 16)]), SameIfFirst);
        assert!(is_changed(5, 15, &[(4, 14), (7, 17)]));
        assert!(is_changed(5, 15, &[(7, 17)]));
        assert!(is_changed(5, 15, &[(4, 14)]) && is_changed(5, 15, &[]), "it isn't there any more");
    }
}

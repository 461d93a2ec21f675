//! What an event makes outdated.

use std::collections::BTreeMap;

use meshwork_events::Envelope;
use meshwork_sql::to_micros;
use time::OffsetDateTime;

/// What an event makes outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// The kind of the entry.
    pub kind: &'static str,
    /// Its key.
    pub key: String,
    /// The version that it has since: older ones are outdated. `None` for what is gone: whatever is cached of it is outdated.
    pub version: Option<u64>,
    /// The tags of what is made of it.
    pub tags: &'static [&'static str],
}

/// The change that gives a tag a new version, by what was changed, its version after that and the time of the change in the
/// database: whoever has made the change says the same as its event, so that the tag gets one new version for both. The time tells
/// apart versions that are given again, by a database that was put back to an older copy.
pub fn cause(kind: &str, key: &str, version: i64, at: OffsetDateTime) -> String {
    format!("{kind}/{key}@{version}:{}", to_micros(at))
}

/// What events make outdated, each entry once, with the cause of its last event: that one says it all.
pub(super) fn last_of_each<'a>(
    events: impl Iterator<Item = &'a Envelope>,
    of: fn(&Envelope) -> Option<Invalidated>,
) -> Vec<(Invalidated, String)> {
    let mut last = BTreeMap::new();
    for event in events {
        if let Some(outdated) = of(event) {
            let cause = cause(outdated.kind, &outdated.key, event.version, event.time);
            last.insert((outdated.kind, outdated.key.clone()), (outdated, cause));
        }
    }
    last.into_values().collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meshwork_events::{Context, Position};
    use time::Duration;

    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);

    fn event(id: &str, version: i64) -> Envelope {
        let subject = format!("users/{id}");
        Envelope {
            id: Envelope::id_of(&subject, version),
            source: "users".to_owned(),
            event_type: "user_updated".to_owned(),
            schema_version: 1,
            subject,
            version,
            position: Position { partition: 0, n: version, index: 0 },
            time: NOW,
            context: Context::default(),
            data: Bytes::new(),
        }
    }

    fn of(event: &Envelope) -> Option<Invalidated> {
        let key = event.subject.strip_prefix("users/").filter(|id| *id != "nobody")?.to_owned();
        Some(Invalidated { kind: "users", key, version: u64::try_from(event.version).ok(), tags: &[] })
    }

    #[test]
    fn of_each_entry_the_last_event_says_it_all() {
        let events = [event("anna", 1), event("bert", 7), event("nobody", 1), event("anna", 2)];
        let outdated =
            |key: &str, version| Invalidated { kind: "users", key: key.to_owned(), version: Some(version), tags: &[] };
        let expected = [
            (outdated("anna", 2), "users/anna@2:1767323045678901".to_owned()),
            (outdated("bert", 7), "users/bert@7:1767323045678901".to_owned()),
        ];
        assert_eq!(last_of_each(events.iter(), of), expected);
    }

    #[test]
    fn a_version_that_is_given_again_is_another_cause() {
        assert_ne!(cause("users", "anna", 2, NOW), cause("users", "anna", 2, NOW + Duration::MICROSECOND));
        assert_eq!(cause("users", "anna", 2, NOW), cause("users", "anna", 2, NOW + Duration::NANOSECOND));
    }
}

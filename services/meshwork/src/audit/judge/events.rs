//! I7, I8: what was appended is whole, and it is what is published.

use std::collections::{HashMap, HashSet};

use crate::audit::evidence::{Carried, Event, Evidence, Name, Place, Source};
use crate::audit::verdict::Verdict;

/// The most seconds for which the bus may have removed an event before its time.
const NEARLY_AGED: i64 = 60 * 60;

/// The services that have a source of events.
const SOURCES: [&str; 3] = ["users", "products", "orders"];

/// The kind of events that an order may have several of.
const REPEATED: &str = "reservation_requested";

/// I7.
pub fn sound(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::new("I7", "sources of events are whole");
    let mut tombstones = 0_u64;
    for source in &evidence.sources {
        let first = firsts(source);
        dense(source, &mut verdict);
        for commit in &source.commits {
            tombstones += u64::from(commit.tombstone);
            if !commit.problem.is_empty() {
                verdict.violated(&commit.subject, format!("{:?} can't be read: {}", commit.place, commit.problem));
            }
        }
        let mut last: HashMap<&Name, i64> = HashMap::new();
        for event in source.in_order() {
            let Event { subject, version, place, .. } = event;
            let expected = match last.get(subject) {
                Some(last) => Some(last + 1),
                // What comes before may have been removed long ago.
                None if source.may_be_cut(&first, event) => None,
                None => Some(1),
            };
            verdict.check(expected.is_none_or(|expected| expected == *version), subject, || {
                format!("version {version} comes where {} should, at {place:?}", expected.unwrap_or_default())
            });
            if let Some(id) = &event.odd_id {
                verdict.violated(subject, format!("its version {version} has the id {id}"));
            }
            last.insert(subject, *version);
        }
    }
    if tombstones > 0 {
        verdict.detail = format!("{tombstones} positions are filled by tombstones");
    }
    verdict
}

/// The first position of each partition.
fn firsts(source: &Source) -> HashMap<i32, i64> {
    let mut first = HashMap::new();
    for commit in &source.commits {
        first.entry(commit.place.0).or_insert(commit.place.1);
    }
    first
}

/// Positions follow each other, from the first to the last.
fn dense(source: &Source, verdict: &mut Verdict) {
    let name = |partition: i32| format!("{} p{partition:02}", source.service);
    let mut last: HashMap<i32, i64> = HashMap::new();
    for commit in &source.commits {
        let (partition, n) = commit.place;
        let expected = match last.get(&partition) {
            Some(last) => last + 1,
            None if source.prunes => n,
            None => 1,
        };
        verdict.check(n == expected, name(partition), || format!("position {n} comes where {expected} should"));
        last.insert(partition, n);
    }
    for (partition, head) in &source.heads {
        let last = last.get(partition).copied().unwrap_or_default();
        verdict.check(*head < 0 || *head == last, name(*partition), || {
            format!("it ends at position {last}, and should at {head}")
        });
    }
}

/// I8.
pub fn published(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::new("I8", "what is published is what was appended, in its order");
    let mut repaired = 0_u64;
    for service in SOURCES {
        let source = evidence.sources.iter().find(|source| source.service == service);
        let is_told = source.is_some_and(|source| !source.stream.is_empty());
        verdict.check(is_told, service, || {
            let what = if source.is_some() { "what is published" } else { "its source" };
            format!("nothing is told of {what}")
        });
    }
    for source in &evidence.sources {
        let first = firsts(source);
        let appended: HashMap<(&Name, i64), &Event> =
            source.events.iter().map(|event| ((&event.subject, event.version), event)).collect();
        let (mut seen, mut in_order) = (HashSet::new(), HashSet::new());
        let mut last: HashMap<&Name, Place> = HashMap::new();
        for Carried { event, lane, repaired: beside } in &source.carried {
            repaired += u64::from(*beside);
            let Event { subject, version, place, .. } = event;
            seen.insert((subject, *version));
            let is_double = !beside && !in_order.insert((subject, *version));
            let ours = appended.get(&(subject, *version));
            // The source may have removed what it has published.
            let is_removed = source.prunes && first.get(&place.0).is_none_or(|first| place.1 < *first);
            let problem = match ours {
                None if is_removed => None,
                None => Some("is published, and was not appended"),
                Some(ours) if ours.content != event.content || ours.odd_id != event.odd_id => {
                    Some("is published with another content")
                }
                Some(ours) if (ours.time, ours.micros) != (event.time, event.micros) => {
                    Some("is published with another time")
                }
                Some(ours) if ours.place != *place => Some("is published for another position"),
                Some(_) if is_double => Some("is published twice"),
                Some(_) => None,
            };
            verdict.check(problem.is_none(), subject, || {
                format!("version {version} {}, in {lane} for {place:?}", problem.unwrap_or_default())
            });
            if *beside {
                continue;
            }
            if let Some(before) = last.insert(lane, *place)
                && before > *place
            {
                verdict
                    .violated(subject, format!("version {version} comes behind {before:?} in {lane}, for {place:?}"));
            }
        }
        // What the bus may have removed by its age is not missed.
        let young = evidence.now - source.retention + NEARLY_AGED.min(source.retention / 8);
        for event in source.events.iter().filter(|event| event.time > young) {
            let Event { subject, version, place, .. } = event;
            let is_there = seen.contains(&(subject, *version));
            verdict.check(is_there, subject, || format!("version {version} is not published, of {place:?}"));
        }
    }
    if repaired > 0 {
        verdict.detail = format!("{repaired} events were published again beside their lanes");
    }
    verdict
}

/// The kinds of which an order has more than one event, each once.
pub fn repeated(events: &[&Event]) -> Vec<Name> {
    let mut counts: HashMap<&Name, usize> = HashMap::new();
    for event in events.iter().filter(|event| event.kind.as_ref() != REPEATED) {
        *counts.entry(&event.kind).or_default() += 1;
    }
    let mut repeated: Vec<_> =
        counts.into_iter().filter(|(_, count)| *count > 1).map(|(kind, _)| kind.clone()).collect();
    repeated.sort_unstable();
    repeated
}

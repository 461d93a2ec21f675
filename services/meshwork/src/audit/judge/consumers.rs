//! I9: what was published is applied, once.

use std::collections::{HashMap, HashSet};

use meshwork_api::meshwork::orders::v1::order::State;

use super::events::repeated;
use super::index::Index;
use crate::audit::evidence::{Consumer, Event, Evidence, Place, Source};
use crate::audit::verdict::Verdict;

/// For how many seconds a consumer knows an aggregate at least that nothing happens to.
const KNOWN: i64 = 30 * 24 * 60 * 60;

/// Who follows events, and of which streams.
const CONSUMERS: [(&str, &[&str]); 3] =
    [("inventory", &["orders"]), ("orders", &["products", "users"]), ("notifications", &["orders", "users"])];

/// I9.
pub fn applied(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I9", "every consumer has applied every event once");
    for (name, streams) in CONSUMERS {
        let consumer = evidence.consumers.iter().find(|consumer| consumer.name == name);
        for stream in streams {
            let is_told = consumer.is_some_and(|consumer| consumer.streams.iter().any(|known| known == stream));
            verdict.check(is_told, name, || format!("nothing is told of what it has applied of {stream}"));
        }
    }
    for consumer in &evidence.consumers {
        let followed: Vec<&Source> =
            evidence.sources.iter().filter(|source| consumer.streams.contains(&source.stream)).collect();
        for source in &followed {
            not_ahead(consumer, source, &mut verdict);
        }
        if consumer.versioned {
            versions(consumer, &followed, evidence.now, &mut verdict);
        } else {
            for source in followed {
                positions(consumer, source, index, &mut verdict);
            }
        }
    }
    for (name, events) in &index.events {
        let repeated = repeated(events);
        verdict.check(repeated.is_empty(), name, || format!("it has more than one {}", repeated.join(", ")));
    }
    verdict
}

/// Nothing is noted as handled that isn't there yet: it would be passed over when it comes.
fn not_ahead(consumer: &Consumer, source: &Source, verdict: &mut Verdict) {
    let mut ends: HashMap<i32, i64> = source.heads.iter().copied().collect();
    for commit in &source.commits {
        let end = ends.entry(commit.place.0).or_default();
        *end = commit.place.1.max(*end);
    }
    for (_, (partition, n, _)) in consumer.noted.iter().filter(|(stream, _)| *stream == source.stream) {
        // Of one whose end isn't known nothing can be said.
        if let Some(end) = ends.get(partition).filter(|end| **end >= 0 && n > *end) {
            let problem = format!("{} notes position {n} as handled, and the last is {end}", consumer.name);
            verdict.violated(format_args!("{} p{partition:02}", source.stream), problem);
        }
    }
}

/// Every aggregate is where its source has left it.
fn versions(consumer: &Consumer, followed: &[&Source], now: i64, verdict: &mut Verdict) {
    let mut applied: HashMap<&str, i64> =
        consumer.applied.iter().map(|(subject, version)| (subject.as_ref(), *version)).collect();
    let mut complete = HashSet::new();
    for source in followed {
        let mut last: HashMap<&str, &Event> = HashMap::new();
        for event in source.in_order() {
            last.insert(&event.subject, event);
        }
        if !source.prunes {
            complete.extend(last.keys().copied().map(collection));
        }
        for (subject, event) in last {
            let version = applied.remove(subject);
            if version.is_none() && now - event.time > KNOWN {
                continue;
            }
            let version = version.unwrap_or_default();
            verdict.check(version == event.version, subject, || {
                let Consumer { name, .. } = consumer;
                format!("{name} has applied version {version}, and the last is {}", event.version)
            });
        }
    }
    // Of sources that keep all, nothing else can have been applied.
    for (subject, version) in applied.into_iter().filter(|(_, version)| *version > 0) {
        if complete.contains(collection(subject)) {
            let problem = format!("{} has applied version {version} of it, and its source has none", consumer.name);
            verdict.violated(subject, problem);
        }
    }
}

/// The collection of an aggregate, such as `orders`.
fn collection(subject: &str) -> &str {
    subject.split('/').next().unwrap_or_default()
}

/// Every partition is handled to its end, or nothing behind makes a difference any more: where it has come to may not have
/// been noted while its database was away.
fn positions(consumer: &Consumer, source: &Source, index: &Index<'_>, verdict: &mut Verdict) {
    let noted: HashMap<i32, Place> =
        consumer.noted.iter().filter(|(stream, _)| *stream == source.stream).map(|(_, at)| (at.0, *at)).collect();
    let mut behind = HashMap::new();
    for carried in source.carried.iter().filter(|carried| !carried.repaired) {
        let event = &carried.event;
        let partition = event.place.0;
        let is_noted = noted.get(&partition).is_some_and(|noted| *noted >= event.place);
        let waits = if is_noted || !makes_a_difference(event, index) { None } else { Some(event) };
        let first: &mut Option<&Event> = behind.entry(partition).or_default();
        *first = first.or(waits);
    }
    for (partition, waits) in behind {
        verdict.check(waits.is_none(), format_args!("{} p{partition:02}", source.stream), || {
            let (subject, version) = waits.map_or(("", 0), |event| (event.subject.as_ref(), event.version));
            format!("{} has not applied version {version} of {subject}, and what comes behind", consumer.name)
        });
    }
}

/// Whether an order still reacts to an event of the inventory. What the end of an account calls off is looked for again later.
fn makes_a_difference(event: &Event, index: &Index<'_>) -> bool {
    let Some(id) = event.subject.strip_prefix("reservations/") else { return false };
    let Some(order) = index.order(&format!("orders/{id}")) else { return false };
    match event.kind.as_ref() {
        "stock_reserved" | "stock_rejected" | "reservation_expired" => order.state == State::Pending,
        "stock_allocated" => order.state == State::Confirmed && order.allocated.is_none(),
        "allocation_failed" => order.state == State::Confirmed,
        _ => false,
    }
}

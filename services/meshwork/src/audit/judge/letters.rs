//! I14, I15: letters are sent, once, and nothing waits for people.

use std::collections::{HashMap, HashSet};

use meshwork_api::meshwork::notifications::v1::notification;
use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::products::v1::reservation;

use super::index::Index;
use crate::audit::evidence::{Event, Evidence, Letter};
use crate::audit::verdict::Verdict;

/// How old an event may be, in seconds, whose letter is looked for: later it may have been removed.
const YOUNG: i64 = 24 * 60 * 60;

/// I14.
pub fn sent(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I14", "each letter is sent, and there is one");
    let deleted = deleted(evidence);
    let mut reasons = HashSet::new();
    let mut written: HashMap<(&str, &str), &Letter> = HashMap::new();
    for letter in &evidence.letters {
        let Letter { name, about, event_id, template, recipient, .. } = letter;
        verdict.check(reasons.insert((event_id, template, recipient)), name, || {
            format!("it is the second letter {template} about {about} to {recipient} because of {event_id}")
        });
        let problem = unsent(letter, &deleted);
        verdict.check(problem.is_none(), name, || format!("{template} about {about} {}", problem.unwrap_or_default()));
        written.insert((about.as_ref(), template.as_ref()), letter);
    }
    for (order, events) in &index.events {
        for (template, event) in due(events) {
            if evidence.now - event.time > YOUNG {
                continue;
            }
            let letter = written.get(&(*order, template));
            let customer = index.order(order).map(|order| order.customer.clone());
            verdict.check(letter.is_some(), order, || format!("there is no letter {template} about it"));
            if let (Some(letter), Some(customer)) = (letter, customer)
                && letter.recipient != customer
            {
                verdict.violated(order, format!("the letter {template} goes to {}, not {customer}", letter.recipient));
            }
        }
    }
    verdict
}

/// The accounts that were deleted.
fn deleted(evidence: &Evidence) -> HashSet<&str> {
    let events = evidence.sources.iter().filter(|source| source.service == "users").flat_map(|source| &source.events);
    events.filter(|event| event.kind.as_ref() == "user_deleted").map(|event| event.subject.as_ref()).collect()
}

/// Why a letter doesn't count as sent.
fn unsent(letter: &Letter, deleted: &HashSet<&str>) -> Option<&'static str> {
    match letter.state {
        notification::State::Sent if letter.attempts < 1 || !letter.handed_over => {
            Some("is sent, and was never handed over")
        }
        notification::State::Sent => None,
        // Nobody is there to get it.
        notification::State::Failed if deleted.contains(letter.recipient.as_ref()) => None,
        notification::State::Failed => Some("was given up"),
        _ => Some("waits to be sent"),
    }
}

/// The letters that the events of an order call for, each with its event.
fn due<'e>(events: &[&'e Event]) -> Vec<(&'static str, &'e Event)> {
    let mut due = Vec::new();
    let mut is_confirmed = false;
    for event in events {
        match event.kind.as_ref() {
            "order_confirmed" => is_confirmed = true,
            // Until then it may be called off for want of pieces.
            "order_allocated" if is_confirmed => due.push(("order_confirmed", *event)),
            "order_rejected" => due.push(("order_rejected", *event)),
            "order_shipped" => due.push(("order_shipped", *event)),
            "order_delivered" => due.push(("order_delivered", *event)),
            "order_cancelled" => due.push(("order_cancelled", *event)),
            _ => {}
        }
    }
    due
}

/// I15.
pub fn nothing_waits(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I15", "nothing is parked, and every tombstone has its reason");
    for parked in &evidence.parked {
        verdict.check(false, &parked.subject, || format!("is parked by {}: {}", parked.place, parked.reason));
    }
    let tombstones = evidence.reservations.iter().filter(|kept| kept.state == reservation::State::Tombstone);
    for tombstone in tombstones {
        let state = index.order(&tombstone.order).map(|order| order.state);
        let is_explained = matches!(state, Some(order::State::Cancelled | order::State::Rejected));
        verdict.check(is_explained, &tombstone.order, || {
            "its reservation is a tombstone, and it was neither cancelled nor rejected".to_owned()
        });
    }
    verdict
}

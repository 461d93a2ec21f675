//! I14, I15: letters are sent, once, and nothing waits for people.

use std::collections::{HashMap, HashSet};

use meshwork_api::meshwork::notifications::v1::notification;
use meshwork_api::meshwork::orders::v1::order;
use meshwork_api::meshwork::products::v1::reservation;

use super::index::Index;
use crate::audit::evidence::{Event, Evidence, Letter};
use crate::audit::verdict::Verdict;

/// The template of an order's confirmation, and the kind of event that it is of.
const CONFIRMED: &str = "order_confirmed";
/// How old an event may be, in seconds, whose letter is missed: no setting has one removed so early.
const YOUNG: i64 = 60 * 60;

/// I14.
pub fn sent(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I14", "each letter is sent, and there is one");
    let (registered, erased) = (registered(evidence), erased(evidence));
    let (mut reasons, mut told) = (HashSet::new(), HashMap::new());
    let mut written: HashMap<(&str, &str), &Letter> = HashMap::new();
    let mut given_up = 0_u64;
    // What was before the service began is not written about. It had begun by the first event that it has written about.
    let mut begun: Option<i64> = None;
    for letter in &evidence.letters {
        let Letter { name, about, event_id, template, recipient, .. } = letter;
        verdict.check(reasons.insert((event_id, template, recipient)), name, || {
            format!("it is the second letter {template} about {about} to {recipient} because of {event_id}")
        });
        // Nothing happens to an order twice that a letter tells.
        if about.starts_with("orders/") {
            let first = *told.entry((template, about, recipient)).or_insert(event_id);
            if first != event_id {
                let problem = format!(
                    "it is the second letter {template} about {about} to {recipient}: for {event_id}, and {first}"
                );
                verdict.violated(name, problem);
            }
        }
        // It was refused, or its recipient is gone: that is for people, and nothing was lost.
        given_up += u64::from(letter.state == notification::State::Failed);
        let problem = unsent(letter);
        verdict.check(problem.is_none(), name, || format!("{template} about {about} {}", problem.unwrap_or_default()));
        written.insert((about.as_ref(), template.as_ref()), letter);
        let mut caused = registered.get(about.as_ref()).copied();
        if about.starts_with("orders/") {
            caused = cause(letter, index.events_of(about), evidence.now).map(|event| event.time);
            verdict.check(caused.is_some(), name, || {
                format!("{template} about {about} is because of {event_id}, which does not call for it")
            });
        }
        begun = caused.into_iter().chain(begun).min();
    }
    let (mut looked_for, mut all) = (0_u64, 0_u64);
    for (order, events) in &index.events {
        for Due { template, event, since } in due(events) {
            all += 1;
            let customer = index.order(order).map(|order| order.customer.clone());
            // What somebody was told goes with what else is personal of them.
            let is_gone = customer.as_ref().is_some_and(|customer| erased.contains(&**customer));
            let must_be = !is_gone && evidence.now - since <= YOUNG && begun.is_some_and(|begun| begun <= since);
            let letter = written.get(&(*order, template));
            if must_be {
                looked_for += 1;
                verdict.check(letter.is_some(), order, || {
                    format!("there is no letter {template} about it, for version {}", event.version)
                });
            }
            if let (Some(letter), Some(customer)) = (letter, customer)
                && letter.recipient != customer
            {
                verdict.violated(order, format!("the letter {template} goes to {}, not {customer}", letter.recipient));
            }
        }
    }
    verdict.detail = format!(
        "missing ones are looked for by {looked_for} of {all} events: those of the last hour, behind the first that has one, \
         where max_event_age is not shortened"
    );
    if given_up > 0 {
        verdict.detail = format!("{given_up} letters were given up; {}", verdict.detail);
    }
    verdict
}

/// When each account was made whose beginning is still known.
fn registered(evidence: &Evidence) -> HashMap<&str, i64> {
    let registered = of_accounts(evidence).filter(|event| event.kind.as_ref() == "user_registered");
    registered.map(|event| (event.subject.as_ref(), event.time)).collect()
}

/// The accounts that are erased, as far as that is still known.
fn erased(evidence: &Evidence) -> HashSet<&str> {
    let erased = of_accounts(evidence).filter(|event| event.kind.as_ref() == "user_erased");
    erased.map(|event| event.subject.as_ref()).collect()
}

fn of_accounts(evidence: &Evidence) -> impl Iterator<Item = &Event> {
    evidence.sources.iter().filter(|source| source.service == "users").flat_map(|source| &source.events)
}

/// Why a letter doesn't count as sent.
fn unsent(letter: &Letter) -> Option<&'static str> {
    match letter.state {
        notification::State::Sent if letter.attempts < 1 || !letter.handed_over => {
            Some("is sent, and was never handed over")
        }
        notification::State::Sent | notification::State::Failed => None,
        _ => Some("waits to be sent"),
    }
}

/// The event of an order that calls for a letter about it.
fn cause<'e>(letter: &Letter, events: &[&'e Event], now: i64) -> Option<&'e Event> {
    let Letter { event_id, template, .. } = letter;
    let due = due(events).into_iter().filter(|due| *due.template == **template).map(|due| due.event);
    // Earlier releases have written at once about an order that is confirmed.
    let earlier = events
        .iter()
        .copied()
        .filter(|event| event.kind == *template && **template == *CONFIRMED && now - event.time > YOUNG);
    due.chain(earlier).find(|event| has_id(event, event_id))
}

fn has_id(event: &Event, id: &str) -> bool {
    match &event.odd_id {
        Some(odd) => odd.as_ref() == id,
        None => id == format!("{}:{}", event.subject, event.version),
    }
}

/// A letter that an event of an order calls for.
struct Due<'e> {
    template: &'static str,
    event: &'e Event,
    /// When the first event happened without which there is none.
    since: i64,
}

/// The letters that the events of an order call for.
fn due<'e>(events: &[&'e Event]) -> Vec<Due<'e>> {
    let mut due = Vec::new();
    let mut confirmed = None;
    for event in events {
        let template = match event.kind.as_ref() {
            CONFIRMED => {
                confirmed = Some(event.time);
                continue;
            }
            // Until then it may be called off for want of pieces.
            "order_allocated" if confirmed.is_some() => CONFIRMED,
            "order_rejected" => "order_rejected",
            "order_shipped" => "order_shipped",
            "order_delivered" => "order_delivered",
            "order_cancelled" => "order_cancelled",
            _ => continue,
        };
        let since = if template == CONFIRMED { confirmed.unwrap_or(event.time) } else { event.time };
        due.push(Due { template, event, since: since.min(event.time) });
    }
    due
}

/// I15.
pub fn nothing_waits(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I15", "nothing is parked, and every tombstone has its reason");
    for parked in &evidence.parked {
        verdict.check(false, &parked.subject, || format!("is parked by {}: {}", parked.place, parked.reason));
    }
    for source in &evidence.sources {
        for commit in source.commits.iter().filter(|commit| commit.tombstone) {
            let (partition, n) = commit.place;
            verdict.check(false, format_args!("{} p{partition:02}", source.service), || {
                format!("a tombstone fills position {n}: the commit that stood there is lost")
            });
        }
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

//! I10: what is shown is what the events make.

use std::collections::HashSet;

use super::index::Index;
use crate::audit::evidence::{Evidence, Folded, List, Name, Order, Refused};
use crate::audit::verdict::Verdict;

/// I10.
pub fn shown(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I10", "orders are shown as their events make them");
    let mut seen = HashSet::new();
    for row in &evidence.listed {
        let difference = match index.order(&row.name) {
            None => Some("is not made by any event".to_owned()),
            Some(order) => difference(order, row),
        };
        verdict.check(difference.is_none(), &row.name, || format!("in lists {}", difference.unwrap_or_default()));
        if !seen.insert(row.name.as_ref()) {
            verdict.violated(&row.name, "is listed twice");
        }
    }
    for Folded { name, order, problem } in &evidence.folded {
        if !problem.is_empty() {
            verdict.violated(name, problem.as_str());
        }
        if order.is_some() && !seen.contains(name.as_ref()) {
            verdict.violated(name, "is missing in lists");
        }
    }
    for shown in &evidence.asked {
        let difference = match index.order(&shown.name) {
            None => Some("is not made by any event".to_owned()),
            Some(order) => difference(order, shown),
        };
        verdict.check(difference.is_none(), &shown.name, || format!("by itself {}", difference.unwrap_or_default()));
    }
    for Refused { subject, answer } in &evidence.refused {
        verdict.check(false, subject, || format!("can't be shown: {answer}"));
    }
    in_order("lists", evidence.listed.iter().map(|row| &row.name), index, &mut verdict);
    for list in &evidence.lists {
        narrowed(list, evidence, index, &mut verdict);
    }
    let (asked, all) = (evidence.asked.len() + evidence.refused.len(), evidence.listed.len());
    if asked < all {
        verdict.detail = format!("{asked} of {all} orders were also asked for by themselves");
    }
    verdict
}

/// Where an order belongs in lists: they have the newest first, by the microsecond.
fn place(order: &Order) -> (i64, i32, &str) {
    let (seconds, nanos) = order.created.unwrap_or_default();
    (seconds, nanos / 1000, order.name.as_ref())
}

/// Each order of a list is older than the one before.
fn in_order<'n>(list: &str, names: impl Iterator<Item = &'n Name>, index: &Index<'_>, verdict: &mut Verdict) {
    let mut before: Option<&Order> = None;
    for order in names.filter_map(|name| index.order(name)) {
        if let Some(before) = before
            && place(before) < place(order)
        {
            verdict.violated(&order.name, format!("comes behind {} in {list}, which is older", before.name));
        }
        before = Some(order);
    }
}

/// A list that is narrowed has all that belong to it, and no others, as far as it was looked at.
fn narrowed(list: &List, evidence: &Evidence, index: &Index<'_>, verdict: &mut Verdict) {
    let List { term, names, is_cut } = list;
    let seen: HashSet<&str> = names.iter().map(AsRef::as_ref).collect();
    for order in names.iter().filter_map(|name| index.order(name)).filter(|order| !term.admits(order)) {
        let state = order.state.as_str_name().trim_start_matches("STATE_");
        verdict.violated(&order.name, format!("is listed with {term}, and it is {state} and of {}", order.customer));
    }
    in_order(&format!("the list with {term}"), names.iter(), index, verdict);
    // By two, so that one in a wrong place doesn't make others missing.
    let last = names.iter().rev().take(2).filter_map(|name| index.order(name)).map(place).max();
    let end = last.filter(|_| *is_cut);
    let all = evidence.folded.iter().filter_map(|folded| folded.order.as_ref());
    for order in all.filter(|order| term.admits(order) && !seen.contains(order.name.as_ref())) {
        if end.is_none_or(|end| place(order) > end) {
            verdict.violated(&order.name, format!("is missing in the list with {term}"));
        }
    }
}

/// In which fields an order is shown otherwise than its events make it.
fn difference(made: &Order, shown: &Order) -> Option<String> {
    let Order { customer, lines, total, state, state_reason, .. } = made;
    let fields = [
        ("customer", *customer == shown.customer),
        ("lines", *lines == shown.lines),
        ("total", *total == shown.total),
        ("state", *state == shown.state),
        ("state_reason", *state_reason == shown.state_reason),
        ("tracking_number", made.tracking_number == shown.tracking_number),
        ("version", made.version == shown.version),
        ("allocate_time", made.allocated == shown.allocated),
        ("create_time", made.created == shown.created),
        ("update_time", made.updated == shown.updated),
    ];
    let other: Vec<_> = fields.into_iter().filter(|(_, is_same)| !is_same).map(|(field, _)| field).collect();
    (!other.is_empty()).then(|| {
        format!(
            "has another {} (version {}, {}) than its events (version {}, {})",
            other.join(", "),
            shown.version,
            shown.state.as_str_name(),
            made.version,
            state.as_str_name()
        )
    })
}

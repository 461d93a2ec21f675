//! I10: what is shown is what the events make.

use std::collections::HashSet;

use super::index::Index;
use crate::audit::evidence::{Evidence, Folded, Order};
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
    let (asked, all) = (evidence.asked.len(), evidence.listed.len());
    if asked < all {
        verdict.detail = format!("{asked} of {all} orders were also asked for by themselves");
    }
    verdict
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

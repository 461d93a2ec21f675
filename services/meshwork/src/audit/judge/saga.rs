//! I5, I6: every order ends, and its reservation with it.

use meshwork_api::meshwork::orders::v1::order::State as OrderState;
use meshwork_api::meshwork::products::v1::reservation::State;

use super::index::Index;
use crate::audit::evidence::{Evidence, Order, Reservation};
use crate::audit::verdict::Verdict;

/// I5.
pub fn ended(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::new("I5", "every order is decided, and its pieces are allocated");
    for order in evidence.folded.iter().filter_map(|folded| folded.order.as_ref()) {
        let waits = match order.state {
            OrderState::Pending => Some("waits for the inventory"),
            OrderState::Confirmed if order.allocated.is_none() => {
                Some("is confirmed, and its pieces are not allocated")
            }
            _ => None,
        };
        verdict.check(waits.is_none(), &order.name, || waits.unwrap_or_default().to_owned());
    }
    verdict
}

/// The states that a reservation may have; `None` while the order waits.
fn admitted(order: &Order) -> Option<&'static [State]> {
    match order.state {
        OrderState::Confirmed if order.allocated.is_some() => Some(&[State::Allocated]),
        OrderState::Shipped | OrderState::Delivered => Some(&[State::Shipped]),
        OrderState::Rejected | OrderState::Cancelled => {
            Some(&[State::Released, State::Expired, State::Rejected, State::Tombstone])
        }
        // I5 tells of it.
        _ => None,
    }
}

/// I6.
pub fn reservations(evidence: &Evidence, index: &Index<'_>) -> Verdict {
    let mut verdict = Verdict::new("I6", "orders and reservations agree");
    for order in evidence.folded.iter().filter_map(|folded| folded.order.as_ref()) {
        let Some(admitted) = admitted(order) else { continue };
        let state = index.reservations.get(order.name.as_ref()).map(|kept| kept.state);
        verdict.check(state.is_some_and(|state| admitted.contains(&state)), &order.name, || {
            let has = state.map_or("no reservation".to_owned(), |state| format!("a reservation {}", short(state)));
            let order = order.state.as_str_name().trim_start_matches("STATE_");
            format!("it is {order} and has {has}")
        });
    }
    for reservation in &evidence.reservations {
        let order = index.order(&reservation.order);
        verdict.check(order.is_some(), &reservation.order, || {
            format!("it has a reservation {}, and there is no such order", short(reservation.state))
        });
        if order.is_some_and(|order| !has_lines(reservation, order)) {
            verdict.violated(&reservation.order, "its reservation has other lines than it");
        }
    }
    for (name, events) in &index.events {
        let place = |wanted: &str| events.iter().position(|event| event.kind.as_ref() == wanted);
        let Some(shipped) = place("order_shipped") else { continue };
        verdict.check(place("order_allocated").is_some_and(|allocated| allocated < shipped), name, || {
            "it was shipped before its pieces were allocated".to_owned()
        });
    }
    verdict
}

/// Whether a reservation is about what was ordered. A tombstone knows nothing of it.
fn has_lines(reservation: &Reservation, order: &Order) -> bool {
    let mut reserved: Vec<(&str, i64)> =
        reservation.lines.iter().map(|(product, quantity)| (product.as_ref(), *quantity)).collect();
    let mut ordered: Vec<(&str, i64)> = order.lines.iter().map(|line| (line.product.as_ref(), line.quantity)).collect();
    reserved.sort_unstable();
    ordered.sort_unstable();
    reservation.state == State::Tombstone || reserved == ordered
}

fn short(state: State) -> &'static str {
    state.as_str_name().trim_start_matches("STATE_")
}

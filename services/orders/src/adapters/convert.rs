//! Between the domain and the contracts.

use meshwork_aip::{etag, filter};
use meshwork_api::meshwork::orders::v1 as proto;
use meshwork_api::public_reason;
use meshwork_chassis::Principal;
use meshwork_chassis::clock::timestamp;

use super::codec;
use super::money::money_to_proto;
use crate::domain::{Line, Order, OrderEvent, State};
use crate::ports::{Actor, Recorded};

pub(super) fn state_to_proto(state: State) -> proto::order::State {
    match state {
        State::Pending => proto::order::State::Pending,
        State::Confirmed => proto::order::State::Confirmed,
        State::Rejected => proto::order::State::Rejected,
        State::Shipped => proto::order::State::Shipped,
        State::Delivered => proto::order::State::Delivered,
        State::Cancelled => proto::order::State::Cancelled,
    }
}

/// The state that a filter names, as `CONFIRMED` or as `STATE_CONFIRMED`.
pub(super) fn state_from_word(word: &str) -> Option<State> {
    let all = [State::Pending, State::Confirmed, State::Rejected, State::Shipped, State::Delivered, State::Cancelled];
    let by_name = |name: &str| all.into_iter().find(|state| state_to_proto(*state).as_str_name() == name);
    filter::enum_value(word, "STATE_", by_name)
}

fn order_line(line: &Line) -> proto::order::Line {
    proto::order::Line {
        product: line.product.to_string(),
        quantity: line.quantity,
        display_name: line.display_name.clone(),
        unit_price: Some(money_to_proto(&line.unit_price)),
    }
}

pub(super) fn order_to_proto(order: &Order) -> proto::Order {
    proto::Order {
        name: order.name.to_string(),
        customer: order.customer.to_string(),
        lines: order.lines.iter().map(order_line).collect(),
        total: Some(money_to_proto(&order.total)),
        state: state_to_proto(order.state).into(),
        state_reason: public_reason(&order.state_reason).into_owned(),
        tracking_number: order.tracking_number.clone(),
        allocate_time: order.allocated_at.map(timestamp),
        create_time: Some(timestamp(order.created_at)),
        update_time: Some(timestamp(order.updated_at)),
        etag: etag::format(order.version),
    }
}

/// The event without numbers of pieces that are left, which earlier releases have stored.
fn public(event: &OrderEvent) -> OrderEvent {
    match event {
        OrderEvent::Rejected { reason } => OrderEvent::Rejected { reason: public_reason(reason).into_owned() },
        OrderEvent::Cancelled { reason } => OrderEvent::Cancelled { reason: public_reason(reason).into_owned() },
        event => event.clone(),
    }
}

/// Who made an event happen, as `viewer` may know it: of other people, customers learn only that they are staff.
fn actor_to_proto(actor: Option<&Actor>, viewer: &Principal) -> String {
    match actor {
        None => String::new(),
        Some(Actor::Inventory) => "inventory".to_owned(),
        Some(Actor::Watchdog) => "orders".to_owned(),
        Some(Actor::Caller(user)) if viewer.may_see(user) => user.to_string(),
        Some(Actor::Caller(_)) => "staff".to_owned(),
    }
}

/// An event of `order` as `viewer` sees it.
pub(super) fn event_to_proto(order: &Order, recorded: &Recorded, viewer: &Principal) -> proto::OrderEvent {
    proto::OrderEvent {
        name: format!("{}/events/{}", order.name, recorded.version),
        create_time: Some(timestamp(recorded.at)),
        event: codec::message(order, &public(&recorded.event), recorded.at),
        actor: actor_to_proto(recorded.actor.as_ref(), viewer),
    }
}

//! An order as its events make it: told here once more, so that what the service makes of them can be held against it.

use std::hash::{DefaultHasher, Hash, Hasher};

use meshwork_api::google::r#type::Money;
use meshwork_api::meshwork::events::v1 as pb;
use meshwork_api::meshwork::orders::v1::order::State;
use meshwork_api::public_reason;
use prost::Message;

use super::evidence::{Folded, Line, Moment, Name, Order};
use crate::history::Amount;

/// The order that no event has made yet.
pub fn nothing(name: &Name) -> Folded {
    Folded { order: None, name: name.clone(), problem: String::new() }
}

/// Applies an event, behind those before it. The first problem stays, and ends the fold.
pub fn apply(folded: &mut Folded, (version, kind): (i64, &str), data: &[u8], at: Moment) {
    if !folded.problem.is_empty() {
        return;
    }
    let after = match folded.order.take() {
        None => created(&folded.name, kind, data, at),
        Some(order) => changed(order, kind, data, at),
    };
    match after {
        Ok(order) if order.version == version => folded.order = Some(order),
        Ok(order) => folded.problem = format!("event {} of it has version {version}", order.version),
        Err(problem) => folded.problem = format!("version {version} of it, {kind}, {problem}"),
    }
}

fn created(name: &Name, kind: &str, data: &[u8], at: Moment) -> Result<Order, String> {
    if kind != "order_created" {
        return Err("comes before its creation".to_owned());
    }
    let event: pb::OrderCreated = decoded(data)?;
    let line = |line: &pb::OrderLine| Line {
        product: line.product.as_str().into(),
        quantity: line.quantity,
        content: content(&line.display_name, line.unit_price.as_ref()),
    };
    Ok(Order {
        name: name.clone(),
        customer: event.customer.as_str().into(),
        lines: event.lines.iter().map(line).collect(),
        total: event.total.as_ref().map(amount),
        state: State::Pending,
        state_reason: String::new(),
        tracking_number: String::new(),
        version: 1,
        allocated: None,
        created: Some(at),
        updated: Some(at),
    })
}

fn changed(mut order: Order, kind: &str, data: &[u8], at: Moment) -> Result<Order, String> {
    match kind {
        "order_confirmed" => order.state = State::Confirmed,
        "order_allocated" => order.allocated = Some(at),
        "order_delivered" => order.state = State::Delivered,
        "reservation_requested" => {}
        "order_rejected" => {
            order.state = State::Rejected;
            order.state_reason = public_reason(&decoded::<pb::OrderRejected>(data)?.reason).into_owned();
        }
        "order_cancelled" => {
            order.state = State::Cancelled;
            order.state_reason = public_reason(&decoded::<pb::OrderCancelled>(data)?.reason).into_owned();
        }
        "order_shipped" => {
            order.state = State::Shipped;
            order.tracking_number = decoded::<pb::OrderShipped>(data)?.tracking_number;
        }
        "order_created" => return Err("creates it again".to_owned()),
        _ => return Err("is none that is known here".to_owned()),
    }
    order.version += 1;
    order.updated = Some(at);
    Ok(order)
}

fn decoded<M: Message + Default>(data: &[u8]) -> Result<M, String> {
    M::decode(data).map_err(|error| format!("can't be decoded: {error}"))
}

/// What a product was called and cost, as one number.
pub fn content(display_name: &str, unit_price: Option<&Money>) -> u64 {
    let mut hasher = DefaultHasher::new();
    display_name.hash(&mut hasher);
    unit_price.map(|price| (&price.currency_code, price.units, price.nanos)).hash(&mut hasher);
    hasher.finish()
}

/// An amount of the contracts.
pub fn amount(money: &Money) -> Amount {
    Amount { currency_code: money.currency_code.clone(), units: money.units, nanos: money.nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(events: &[(&str, Vec<u8>)]) -> Folded {
        let mut folded = nothing(&"orders/1".into());
        for (version, (kind, data)) in (1..).zip(events) {
            apply(&mut folded, (version, *kind), data, (version, 0));
        }
        folded
    }

    fn creation() -> (&'static str, Vec<u8>) {
        let line = pb::OrderLine { product: "products/1".to_owned(), quantity: 2, ..Default::default() };
        let created = pb::OrderCreated { customer: "users/1".to_owned(), lines: vec![line], ..Default::default() };
        ("order_created", created.encode_to_vec())
    }

    #[test]
    fn an_order_goes_the_way_that_its_events_tell() {
        let shipped = pb::OrderShipped { tracking_number: "TN".to_owned(), ..Default::default() };
        let events = [
            creation(),
            ("reservation_requested", Vec::new()),
            ("order_confirmed", Vec::new()),
            ("order_allocated", Vec::new()),
            ("order_shipped", shipped.encode_to_vec()),
            ("order_delivered", Vec::new()),
        ];
        let Folded { order: Some(order), problem, .. } = folded(&events) else { panic!("there is no order") };
        assert_eq!(problem, "");
        assert_eq!((order.state, order.version, order.tracking_number.as_str()), (State::Delivered, 6, "TN"));
        assert_eq!((order.created, order.allocated, order.updated), (Some((1, 0)), Some((4, 0)), Some((6, 0))));
        let rejected = pb::OrderRejected { reason: "none left".to_owned(), ..Default::default() };
        let rejected = folded(&[creation(), ("order_rejected", rejected.encode_to_vec())]).order.unwrap();
        assert_eq!((rejected.state, rejected.state_reason.as_str()), (State::Rejected, "none left"));
    }

    #[test]
    fn what_can_not_be_a_history_is_named() {
        let problem = |events: &[(&str, Vec<u8>)]| folded(events).problem;
        assert!(problem(&[("order_confirmed", Vec::new())]).contains("comes before its creation"));
        assert!(problem(&[creation(), creation()]).contains("creates it again"));
        assert!(problem(&[creation(), ("order_eaten", Vec::new())]).contains("is none that is known here"));
        assert!(problem(&[creation(), ("order_shipped", vec![0xff])]).contains("can't be decoded"));
        let mut skipped = nothing(&"orders/1".into());
        let (kind, data) = creation();
        apply(&mut skipped, (2, kind), &data, (0, 0));
        assert_eq!(skipped.problem, "event 1 of it has version 2");
    }
}

//! Events as bytes: the messages of `meshwork.events.v1`, which are both what we store and what others hear.

use bytes::Bytes;
use meshwork_api::meshwork::events::v1 as proto;
use meshwork_api::meshwork::orders::v1::order_event::Event as Message;
use meshwork_chassis::clock::timestamp;
use meshwork_eventstore::EventType;
use prost::Message as _;
use time::OffsetDateTime;

use super::money::{money_from_proto, money_to_proto};
use crate::domain::{Line, Order, OrderEvent};

/// The type of a request's claim. It says nothing more, has no message in the contracts, and is not published.
pub(super) const REQUEST_CLAIMED: &str = "request_claimed";

/// The types of events, with what leads from the schemas of older releases to the newest.
pub(super) const TYPES: &[EventType] = &[
    EventType::new("order_created"),
    EventType::new("reservation_requested"),
    EventType::new("order_confirmed"),
    EventType::new("order_allocated"),
    EventType::new("order_rejected"),
    EventType::new("order_shipped"),
    EventType::new("order_delivered"),
    EventType::new("order_cancelled"),
    EventType::new(REQUEST_CLAIMED),
];

/// An event of `order` as the contracts have it; `None` for what is no event of an order.
pub(super) fn message(order: &Order, event: &OrderEvent, at: OffsetDateTime) -> Option<Message> {
    let (name, customer) = (order.name.to_string(), order.customer.to_string());
    let total = Some(money_to_proto(&order.total));
    let lines = || order.lines.iter().map(line_to_proto).collect();
    Some(match event {
        OrderEvent::RequestClaimed => return None,
        OrderEvent::Created { .. } => {
            let create_time = Some(timestamp(at));
            Message::OrderCreated(proto::OrderCreated { order: name, customer, lines: lines(), total, create_time })
        }
        OrderEvent::Confirmed => Message::OrderConfirmed(proto::OrderConfirmed { order: name, customer, total }),
        OrderEvent::Rejected { reason } => {
            Message::OrderRejected(proto::OrderRejected { order: name, customer, reason: reason.clone() })
        }
        OrderEvent::Allocated => Message::OrderAllocated(proto::OrderAllocated { order: name }),
        OrderEvent::Shipped { tracking_number } => {
            let tracking_number = tracking_number.clone();
            Message::OrderShipped(proto::OrderShipped { order: name, customer, tracking_number })
        }
        OrderEvent::Delivered => Message::OrderDelivered(proto::OrderDelivered { order: name, customer }),
        OrderEvent::Cancelled { reason } => {
            Message::OrderCancelled(proto::OrderCancelled { order: name, customer, reason: reason.clone() })
        }
        OrderEvent::ReservationRequested { attempt, confirmed } => {
            let (attempt, confirmed) = (i32::try_from(*attempt).unwrap_or(i32::MAX), *confirmed);
            Message::ReservationRequested(proto::ReservationRequested {
                order: name,
                attempt,
                lines: lines(),
                confirmed,
            })
        }
    })
}

/// The type and the bytes of an event.
pub(super) fn encode(message: &Message) -> (&'static str, Bytes) {
    let (event_type, data) = match message {
        Message::OrderCreated(event) => ("order_created", event.encode_to_vec()),
        Message::OrderConfirmed(event) => ("order_confirmed", event.encode_to_vec()),
        Message::OrderRejected(event) => ("order_rejected", event.encode_to_vec()),
        Message::OrderAllocated(event) => ("order_allocated", event.encode_to_vec()),
        Message::OrderShipped(event) => ("order_shipped", event.encode_to_vec()),
        Message::OrderDelivered(event) => ("order_delivered", event.encode_to_vec()),
        Message::OrderCancelled(event) => ("order_cancelled", event.encode_to_vec()),
        Message::ReservationRequested(event) => ("reservation_requested", event.encode_to_vec()),
    };
    (event_type, data.into())
}

/// The event that stored bytes of its type's newest schema hold.
pub(super) fn decode(event_type: &str, data: &[u8]) -> Result<OrderEvent, String> {
    let damaged = |error: prost::DecodeError| format!("{event_type} can't be decoded: {error}");
    Ok(match event_type {
        REQUEST_CLAIMED => OrderEvent::RequestClaimed,
        "order_created" => {
            let event = proto::OrderCreated::decode(data).map_err(damaged)?;
            OrderEvent::Created {
                customer: event
                    .customer
                    .parse()
                    .map_err(|error| format!("{event_type} has a customer that {error}"))?,
                lines: event
                    .lines
                    .iter()
                    .map(line_from_proto)
                    .collect::<Result<_, _>>()
                    .map_err(|problem| format!("{event_type} has a line {problem}"))?,
                total: money_from_proto(event.total.as_ref())
                    .ok_or_else(|| format!("{event_type} has no total that can be read"))?,
            }
        }
        "order_confirmed" => {
            proto::OrderConfirmed::decode(data).map_err(damaged)?;
            OrderEvent::Confirmed
        }
        "order_rejected" => {
            OrderEvent::Rejected { reason: proto::OrderRejected::decode(data).map_err(damaged)?.reason }
        }
        "order_allocated" => {
            proto::OrderAllocated::decode(data).map_err(damaged)?;
            OrderEvent::Allocated
        }
        "order_shipped" => {
            OrderEvent::Shipped { tracking_number: proto::OrderShipped::decode(data).map_err(damaged)?.tracking_number }
        }
        "order_delivered" => {
            proto::OrderDelivered::decode(data).map_err(damaged)?;
            OrderEvent::Delivered
        }
        "order_cancelled" => {
            OrderEvent::Cancelled { reason: proto::OrderCancelled::decode(data).map_err(damaged)?.reason }
        }
        "reservation_requested" => {
            let proto::ReservationRequested { attempt, confirmed, .. } =
                proto::ReservationRequested::decode(data).map_err(damaged)?;
            let attempt = u32::try_from(attempt).map_err(|_| format!("{event_type} is attempt {attempt}"))?;
            OrderEvent::ReservationRequested { attempt, confirmed }
        }
        _ => return Err(format!("{event_type} is no event of orders that this release knows")),
    })
}

fn line_to_proto(line: &Line) -> proto::OrderLine {
    proto::OrderLine {
        product: line.product.to_string(),
        quantity: line.quantity,
        display_name: line.display_name.clone(),
        unit_price: Some(money_to_proto(&line.unit_price)),
    }
}

fn line_from_proto(line: &proto::OrderLine) -> Result<Line, String> {
    Ok(Line {
        product: line.product.parse().map_err(|error| format!("whose product {error}"))?,
        quantity: line.quantity,
        display_name: line.display_name.clone(),
        unit_price: money_from_proto(line.unit_price.as_ref()).ok_or("without a price that can be read")?,
    })
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;

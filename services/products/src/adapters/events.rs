//! Our events as the contracts have them.

use meshwork_api::meshwork::events::v1 as pb;
use meshwork_chassis::clock::timestamp;
use meshwork_chassis::money::money;
use meshwork_events::outbox::NewEvent;
use prost::Message;

use crate::domain::{Line, Product, Reservation, ReservationEvent};

/// The types of what a reservation tells.
const RESERVATION_TYPES: [&str; 6] = [
    "stock_reserved",
    "stock_rejected",
    "stock_allocated",
    "stock_released",
    "reservation_expired",
    "allocation_failed",
];

/// The type of the event of a product that was removed.
pub(super) const PRODUCT_DELETED: &str = "product_deleted";

/// The version of the schemas of our events: none has changed yet.
pub const SCHEMA_VERSION: u16 = 1;

/// The type of an event of a reservation by its word, as a store gives it back.
pub fn reservation_type(word: &str) -> Option<&'static str> {
    RESERVATION_TYPES.into_iter().find(|known| *known == word)
}

/// The aggregate of an order's reservation.
pub fn reservation_subject(order_id: &str) -> String {
    format!("reservations/{order_id}")
}

/// What `reservation`, which has changed to this, tells the world.
pub fn of_reservation(reservation: &Reservation, event: &ReservationEvent) -> NewEvent {
    let order = reservation.order.to_string();
    let (event_type, data) = match event {
        ReservationEvent::StockReserved { lines, expires_at } => {
            let expire_time = Some(timestamp(*expires_at));
            ("stock_reserved", pb::StockReserved { order, lines: stock_lines(lines), expire_time }.encode_to_vec())
        }
        ReservationEvent::StockRejected { shortages } => {
            let shortages = shortages
                .iter()
                .map(|short| pb::Shortage {
                    product: short.product.to_string(),
                    requested: short.requested,
                    available: short.available,
                })
                .collect();
            ("stock_rejected", pb::StockRejected { order, shortages }.encode_to_vec())
        }
        ReservationEvent::StockAllocated => ("stock_allocated", pb::StockAllocated { order }.encode_to_vec()),
        ReservationEvent::StockReleased { lines } => {
            ("stock_released", pb::StockReleased { order, lines: stock_lines(lines) }.encode_to_vec())
        }
        ReservationEvent::ReservationExpired => {
            ("reservation_expired", pb::ReservationExpired { order }.encode_to_vec())
        }
        ReservationEvent::AllocationFailed { reason } => {
            ("allocation_failed", pb::AllocationFailed { order, reason: reason.clone() }.encode_to_vec())
        }
    };
    let subject = reservation_subject(reservation.order.id());
    NewEvent { event_type, schema_version: SCHEMA_VERSION, subject, version: reservation.version, data }
}

fn stock_lines(lines: &[Line]) -> Vec<pb::StockLine> {
    lines.iter().map(|line| pb::StockLine { product: line.product.to_string(), quantity: line.quantity }).collect()
}

/// A product was added.
pub fn product_created(product: &Product) -> NewEvent {
    let data = pb::ProductCreated {
        product: product.name.to_string(),
        display_name: product.display_name.clone(),
        price: Some(money(&product.price.currency, product.price.minor)),
    };
    of_product(product, "product_created", &data)
}

/// A product was changed to this.
pub fn product_updated(product: &Product) -> NewEvent {
    let data = pb::ProductUpdated {
        product: product.name.to_string(),
        display_name: product.display_name.clone(),
        price: Some(money(&product.price.currency, product.price.minor)),
    };
    of_product(product, "product_updated", &data)
}

/// A product was removed from sale.
pub fn product_deleted(product: &Product) -> NewEvent {
    of_product(product, PRODUCT_DELETED, &pb::ProductDeleted { product: product.name.to_string() })
}

fn of_product(product: &Product, event_type: &'static str, data: &impl Message) -> NewEvent {
    NewEvent {
        event_type,
        schema_version: SCHEMA_VERSION,
        subject: product.name.to_string(),
        version: product.version,
        data: data.encode_to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::domain::{Shortage, State};

    #[test]
    fn every_event_of_a_reservation_is_known_by_its_type() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let reservation = Reservation {
            order: "orders/o1".parse().unwrap(),
            state: State::Held,
            lines: Vec::new(),
            expires_at: None,
            created_at: now,
            updated_at: now,
            version: 3,
        };
        let shortage = Shortage { product: "products/lamp".parse().unwrap(), requested: 2, available: 1 };
        let events = [
            ReservationEvent::StockReserved { lines: Vec::new(), expires_at: now },
            ReservationEvent::StockRejected { shortages: vec![shortage] },
            ReservationEvent::StockAllocated,
            ReservationEvent::StockReleased { lines: Vec::new() },
            ReservationEvent::ReservationExpired,
            ReservationEvent::AllocationFailed { reason: "gone".to_owned() },
        ];
        for (event, expected) in events.iter().zip(RESERVATION_TYPES) {
            let new = of_reservation(&reservation, event);
            assert_eq!((new.event_type, new.subject.as_str(), new.version), (expected, "reservations/o1", 3));
            assert_eq!(reservation_type(new.event_type), Some(new.event_type));
            // All of them name the order in field 1.
            assert_eq!(pb::StockAllocated::decode(new.data.as_slice()).unwrap().order, "orders/o1");
        }
        assert_eq!(reservation_type("order_created"), None);
    }
}

//! Does for an order's reservation what an event of the order asks for.

use meshwork_api::OrderName;

use crate::app::App;
use crate::domain::{Input, Lines};
use crate::ports::{Applied, OrderEvent, StoreError};

/// An event of an order.
#[derive(Clone, Debug)]
pub struct OrderMessage {
    /// The order.
    pub order: OrderName,
    /// The order's version after it.
    pub version: i64,
    /// What has happened.
    pub what: What,
}

/// What has happened to an order, as far as it matters to its reservation.
#[derive(Clone, Debug)]
pub enum What {
    /// It was placed.
    Created(Lines),
    /// It asks again for its pieces.
    ReservationRequested(Lines),
    /// It was confirmed.
    Confirmed,
    /// It was confirmed, and asks again for its pieces.
    AllocationRequested(Lines),
    /// It was cancelled or rejected.
    Cancelled,
    /// It was shipped.
    Shipped,
    /// Something else; also what we don't know yet (NT-8).
    Other,
}

impl App {
    /// Applies an event, once, however often it comes.
    ///
    /// # Errors
    /// When the store fails; nothing was changed then.
    pub async fn handle_order_event(&self, message: OrderMessage) -> Result<Applied, StoreError> {
        let OrderMessage { order, version, what } = message;
        let hold = self.reservation_ttl;
        let input = match what {
            What::Created(lines) => Some(Input::OrderCreated { lines, hold }),
            What::ReservationRequested(lines) => Some(Input::ReservationRequested { lines, hold }),
            What::Confirmed => Some(Input::OrderConfirmed),
            What::AllocationRequested(lines) => Some(Input::AllocationRequested { lines }),
            What::Cancelled => Some(Input::OrderCancelled),
            What::Shipped => Some(Input::OrderShipped),
            What::Other => None,
        };
        let applied = self.inventory.apply(OrderEvent { order: order.clone(), version, input }).await?;
        fail::fail_point!("products::applied");
        if let Applied::Alarm(what) = applied {
            tracing::error!(%order, version, "{what}; a person must look into it");
        }
        Ok(applied)
    }
}

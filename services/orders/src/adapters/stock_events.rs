//! The inventory's events, as they come over the bus.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_api::OrderName;
use meshwork_api::meshwork::events::v1 as proto;
use meshwork_events::{ConsumerState, Envelope, HandleError, Handler};
use prost::Message;
use uuid::Uuid;

use crate::app::commands::StockEvent;
use crate::app::{App, AppError};
use crate::ports::{CommandKey, StoreError};

/// The namespace of the names of contents (RFC 9562, version 5). It never changes: commands depend on it.
const CONTENT: Uuid = Uuid::from_u128(0x31f2_0a5e_7c44_4d9b_a2d7_51e6_0f38_96cb);

/// As whom the bus knows us.
pub const CONSUMER: &str = "orders";
/// The stream that we listen to.
pub const STREAM: &str = "products";

/// Lets orders react to the inventory.
///
/// The effect is a commit whose command is the event, so that an event that comes again has none. The events of a reservation
/// that is parked wait behind it.
pub struct StockEvents {
    app: App,
    state: Arc<dyn ConsumerState>,
}

impl StockEvents {
    /// Reactions by `app`, of a consumer with this state.
    pub fn new(app: App, state: Arc<dyn ConsumerState>) -> Self {
        Self { app, state }
    }
}

#[async_trait]
impl Handler for StockEvents {
    async fn handle(&self, event: &Envelope) -> Result<(), HandleError> {
        if self.state.blocks(&event.subject, event.version).await? {
            return Err(HandleError::Parked);
        }
        let Some((order, stock_event)) = decode(event).map_err(HandleError::Poison)? else { return Ok(()) };
        self.app.handle_stock_event(&order, &command_key(event), &stock_event).await.map_err(|error| match error {
            AppError::Store(StoreError::Damaged(problem)) => HandleError::Poison(problem),
            AppError::RequestReused => HandleError::Poison("another event with its id was handled before".to_owned()),
            error => HandleError::Retry(error.to_string()),
        })
    }
}

/// The command that an event is: the same for the same event. An inventory that was put back to an older copy gives versions
/// again that it has given before, and what it says then is another event.
fn command_key(event: &Envelope) -> CommandKey {
    let content = [event.event_type.as_bytes(), b"\n", event.data.as_ref()].concat();
    CommandKey::told_by(format!("{}#{}", event.id, Uuid::new_v5(&CONTENT, &content)))
}

/// What the event says, and of which order; `None` for events that orders don't react to, known or not (NT-8).
fn decode(event: &Envelope) -> Result<Option<(OrderName, StockEvent)>, String> {
    let damaged = |error: prost::DecodeError| format!("{} can't be decoded: {error}", event.event_type);
    let data = event.data.as_ref();
    let (order, stock_event) = match event.event_type.as_str() {
        "stock_reserved" => (proto::StockReserved::decode(data).map_err(damaged)?.order, StockEvent::Reserved),
        "stock_rejected" => {
            let rejected = proto::StockRejected::decode(data).map_err(damaged)?;
            (rejected.order.clone(), StockEvent::Rejected { reason: reason(&rejected) })
        }
        "stock_allocated" => (proto::StockAllocated::decode(data).map_err(damaged)?.order, StockEvent::Allocated),
        "reservation_expired" => (proto::ReservationExpired::decode(data).map_err(damaged)?.order, StockEvent::Expired),
        "allocation_failed" => {
            let failed = proto::AllocationFailed::decode(data).map_err(damaged)?;
            (failed.order, StockEvent::AllocationFailed { reason: failed.reason })
        }
        _ => return Ok(None),
    };
    let order = order.parse().map_err(|error| format!("{} is about an order that {error}", event.event_type))?;
    Ok(Some((order, stock_event)))
}

/// The shortages in words. Customers read them, with the order and in a letter: what is left is for staff, who find it in
/// the inventory.
fn reason(rejected: &proto::StockRejected) -> String {
    let products: Vec<_> = rejected.shortages.iter().map(|shortage| shortage.product.as_str()).collect();
    if products.is_empty() { "too few pieces".to_owned() } else { format!("too few pieces of {}", products.join(", ")) }
}

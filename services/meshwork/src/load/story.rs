//! What an order's events tell of it.

use std::time::SystemTime;

use meshwork_api::meshwork::orders::v1::OrderEvent;
use meshwork_api::meshwork::orders::v1::order_event::Event;

/// An order, by its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// When it was created.
    pub created: Option<SystemTime>,
    /// When it was confirmed.
    pub confirmed: Option<SystemTime>,
    /// The inventory keeps its pieces for it.
    pub allocated: bool,
    /// It was rejected.
    pub rejected: bool,
    /// It was cancelled.
    pub cancelled: bool,
}

impl Story {
    /// The order of these events.
    pub fn of(events: &[OrderEvent]) -> Self {
        let mut story = Self::default();
        for event in events {
            let time = event.create_time.and_then(|time| SystemTime::try_from(time).ok());
            match &event.event {
                Some(Event::OrderCreated(_)) => story.created = time,
                Some(Event::OrderConfirmed(_)) => story.confirmed = time,
                Some(Event::OrderAllocated(_)) => story.allocated = true,
                Some(Event::OrderRejected(_)) => story.rejected = true,
                Some(Event::OrderCancelled(_)) => story.cancelled = true,
                Some(Event::OrderShipped(_) | Event::OrderDelivered(_) | Event::ReservationRequested(_)) | None => {}
            }
        }
        story
    }

    /// Whether the saga has nothing left to do for it.
    pub fn is_settled(&self) -> bool {
        self.allocated || self.rejected || self.cancelled
    }
}

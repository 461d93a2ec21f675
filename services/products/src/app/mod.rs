//! The use cases: `commands` change something, `queries` don't.

pub mod commands;
pub mod queries;

use std::sync::Arc;

use meshwork_chassis::clock::{from_micros, to_micros};
use time::{Duration, OffsetDateTime};

use crate::ports::{Catalogue, Clock, Inventory};

/// The use cases, with what they need.
#[derive(Clone)]
pub struct App {
    /// Keeps the products.
    pub catalogue: Arc<dyn Catalogue>,
    /// Keeps the stocks and the reservations.
    pub inventory: Arc<dyn Inventory>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How long pieces are held for an order that isn't confirmed.
    pub reservation_ttl: Duration,
}

impl App {
    /// The time now, as exact as stores keep it, so that an answer is the same when it is given again.
    fn now(&self) -> OffsetDateTime {
        from_micros(to_micros(self.clock.now()))
    }
}

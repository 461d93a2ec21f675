//! The use cases: `commands` change something, `queries` don't.

pub mod commands;
pub mod queries;

use std::sync::Arc;

use time::Duration;

use crate::ports::{Catalogue, Inventory};

/// The use cases, with what they need.
#[derive(Clone)]
pub struct App {
    /// Keeps the products.
    pub catalogue: Arc<dyn Catalogue>,
    /// Keeps the stocks and the reservations.
    pub inventory: Arc<dyn Inventory>,
    /// How long pieces are held for an order that isn't confirmed.
    pub reservation_ttl: Duration,
}

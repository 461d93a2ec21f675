//! Reservations: pieces kept for orders.
//!
//! [`transition`] is the whole machine: what a reservation does about each thing that it hears. It decides by the state
//! alone. Whether there are enough pieces is found out by moving them, so that no two orders can count on the same
//! ones; the decision says what follows in either case.

mod machine;
mod state;

pub use machine::{Decision, Input, OnShortage, Outcome, transition};
pub use state::{State, UnknownState};

use meshwork_api::{OrderName, ProductName};
use time::OffsetDateTime;

use super::Line;

/// Pieces kept for one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The order.
    pub order: OrderName,
    /// Where it stands.
    pub state: State,
    /// What it is about, in the order of the products; nothing for a tombstone.
    pub lines: Vec<Line>,
    /// Until when the pieces are or were held, while that matters.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When its state changed last.
    pub updated_at: OffsetDateTime,
    /// How many events it has had; it says nothing of changes that were not announced.
    pub version: i64,
}

impl Reservation {
    /// The reservation of `order` after an outcome. A new one is about `lines`.
    pub fn after(
        current: Option<&Self>,
        order: &OrderName,
        lines: &[Line],
        outcome: &Outcome,
        now: OffsetDateTime,
    ) -> Self {
        let before = current.cloned().unwrap_or_else(|| Self {
            order: order.clone(),
            state: outcome.state,
            lines: lines.to_vec(),
            expires_at: None,
            created_at: now,
            updated_at: now,
            version: 0,
        });
        let changed = before.state != outcome.state;
        Self {
            state: outcome.state,
            expires_at: outcome.expires_at,
            updated_at: if changed { now } else { before.updated_at },
            version: before.version.saturating_add(i64::from(outcome.event.is_some())),
            ..before
        }
    }
}

/// A product of which there are too few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The product.
    pub product: ProductName,
    /// How many pieces were asked for.
    pub requested: i64,
    /// How many there are to be sold; 0 for a product that is not for sale.
    pub available: i64,
}

/// What a reservation tells the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationEvent {
    /// The pieces are held.
    StockReserved {
        /// What is held.
        lines: Vec<Line>,
        /// Until when.
        expires_at: OffsetDateTime,
    },
    /// There are too few pieces; nothing is held.
    StockRejected {
        /// What is missing.
        shortages: Vec<Shortage>,
    },
    /// The pieces belong to the order.
    StockAllocated,
    /// The pieces can be sold again, because the order was cancelled or rejected.
    StockReleased {
        /// What was released.
        lines: Vec<Line>,
    },
    /// The pieces can be sold again, because the order wasn't confirmed in time.
    ReservationExpired,
    /// The pieces were gone when they were to be allocated.
    AllocationFailed {
        /// Why.
        reason: String,
    },
}

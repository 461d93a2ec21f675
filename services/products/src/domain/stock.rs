//! Stock: a product's pieces by what has become of them.

use meshwork_api::ProductName;
use time::OffsetDateTime;

use super::Refusal;
use super::pieces::MAX_PIECES;

/// A product's pieces. Always `available + held + allocated + shipped = received`, and none is below zero (I1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Whose pieces.
    pub product: ProductName,
    /// Pieces that can be sold.
    pub available: i64,
    /// Pieces kept for orders that are not confirmed yet.
    pub held: i64,
    /// Pieces that belong to confirmed orders.
    pub allocated: i64,
    /// Pieces that have left.
    pub shipped: i64,
    /// Pieces ever received, corrections included.
    pub received: i64,
    /// When it changed last.
    pub updated_at: OffsetDateTime,
}

/// What is added to each number of a stock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Added to `available`.
    pub available: i64,
    /// Added to `held`.
    pub held: i64,
    /// Added to `allocated`.
    pub allocated: i64,
    /// Added to `shipped`.
    pub shipped: i64,
    /// Added to `received`.
    pub received: i64,
}

/// A change of the stock itself, by staff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockChange {
    /// Pieces have come.
    Receive {
        /// How many; above zero.
        quantity: i64,
    },
    /// A count has found more or fewer pieces.
    Adjust {
        /// How many more; below zero for fewer.
        delta: i64,
        /// Why.
        reason: String,
        /// Who says so.
        actor: String,
    },
}

impl StockChange {
    /// What it adds.
    pub fn delta(&self) -> Delta {
        let (Self::Receive { quantity: pieces } | Self::Adjust { delta: pieces, .. }) = *self;
        Delta { available: pieces, received: pieces, ..Delta::default() }
    }
}

/// A way of pieces from one place to another, for an order. The pieces stay ours until they are shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Movement {
    /// Available pieces are kept for an order.
    Hold,
    /// The kept pieces belong to the order now.
    Allocate,
    /// The kept pieces can be sold again.
    Release,
    /// The order's own pieces can be sold again.
    Return,
    /// Available pieces belong to an order whose kept ones were let go.
    Reallocate,
    /// The order's pieces leave.
    Ship,
}

impl Movement {
    /// The movement's word, as the ledger keeps it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Movement::Hold => "hold",
            Movement::Allocate => "allocate",
            Movement::Release => "release",
            Movement::Return => "return",
            Movement::Reallocate => "reallocate",
            Movement::Ship => "ship",
        }
    }

    /// Whether the pieces come from those that can be sold, so that there may be too few.
    pub const fn takes_available(self) -> bool {
        matches!(self, Movement::Hold | Movement::Reallocate)
    }

    /// What it adds when so many pieces move; `pieces` is above zero.
    pub fn delta(self, pieces: i64) -> Delta {
        let none = Delta::default();
        match self {
            Movement::Hold => Delta { available: -pieces, held: pieces, ..none },
            Movement::Allocate => Delta { held: -pieces, allocated: pieces, ..none },
            Movement::Release => Delta { held: -pieces, available: pieces, ..none },
            Movement::Return => Delta { allocated: -pieces, available: pieces, ..none },
            Movement::Reallocate => Delta { available: -pieces, allocated: pieces, ..none },
            Movement::Ship => Delta { allocated: -pieces, shipped: pieces, ..none },
        }
    }
}

impl Stock {
    /// The stock of a product that was added now: no pieces.
    pub fn new(product: ProductName, now: OffsetDateTime) -> Self {
        Self { product, available: 0, held: 0, allocated: 0, shipped: 0, received: 0, updated_at: now }
    }

    /// Pieces that orders hold: those kept and those that belong to them.
    pub fn reserved(&self) -> i64 {
        self.held.saturating_add(self.allocated)
    }

    /// Whether the numbers are what they must be (I1).
    pub fn is_sound(&self) -> bool {
        let parts = [self.available, self.held, self.allocated, self.shipped];
        let sum = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(*part));
        parts.iter().all(|part| *part >= 0) && sum == Some(self.received) && self.received <= MAX_PIECES
    }

    /// The stock after a change.
    ///
    /// # Errors
    /// [`Refusal::StockTooLow`] when a number would fall below zero, [`Refusal::StockOverflow`] when more than
    /// [`MAX_PIECES`] would have been received.
    pub fn changed(&self, delta: Delta, now: OffsetDateTime) -> Result<Self, Refusal> {
        let overflow = || Refusal::StockOverflow { product: self.product.clone() };
        let add = |number: i64, more: i64| number.checked_add(more).ok_or_else(overflow);
        let after = Self {
            product: self.product.clone(),
            available: add(self.available, delta.available)?,
            held: add(self.held, delta.held)?,
            allocated: add(self.allocated, delta.allocated)?,
            shipped: add(self.shipped, delta.shipped)?,
            received: add(self.received, delta.received)?,
            updated_at: now,
        };
        if after.received > MAX_PIECES {
            return Err(overflow());
        }
        if [after.available, after.held, after.allocated, after.shipped, after.received].iter().any(|part| *part < 0) {
            return Err(Refusal::StockTooLow { product: self.product.clone(), available: self.available });
        }
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const MOVEMENTS: [Movement; 6] =
        [Movement::Hold, Movement::Allocate, Movement::Release, Movement::Return, Movement::Reallocate, Movement::Ship];

    fn stock(available: i64) -> Stock {
        Stock { available, received: available, ..Stock::new("products/lamp".parse().unwrap(), NOW) }
    }

    fn adjust(delta: i64) -> Delta {
        StockChange::Adjust { delta, reason: "counted".to_owned(), actor: "users/staff".to_owned() }.delta()
    }

    #[test]
    fn what_is_received_and_found_missing_is_counted() {
        let received = stock(0).changed(StockChange::Receive { quantity: 7 }.delta(), NOW).unwrap();
        assert_eq!((received.available, received.received), (7, 7));
        let counted = received.changed(adjust(-3), NOW).unwrap();
        assert_eq!((counted.available, counted.received), (4, 4));
        let refused = counted.changed(adjust(-5), NOW);
        assert_eq!(refused, Err(Refusal::StockTooLow { product: counted.product, available: 4 }));
    }

    #[test]
    fn held_pieces_can_not_be_counted_away() {
        let held = stock(5).changed(Movement::Hold.delta(4), NOW).unwrap();
        let refused = held.changed(adjust(-2), NOW);
        assert_eq!(refused, Err(Refusal::StockTooLow { product: held.product, available: 1 }));
    }

    #[test]
    fn more_than_a_stock_can_count_is_refused() {
        let full = stock(MAX_PIECES);
        for more in [1, 1_000_000_000, i64::MAX] {
            let refused = full.changed(StockChange::Receive { quantity: more }.delta(), NOW);
            assert_eq!(refused, Err(Refusal::StockOverflow { product: full.product.clone() }), "{more}");
        }
        assert!(full.changed(adjust(-1), NOW).unwrap().changed(adjust(1), NOW).is_ok());
    }

    proptest! {
        #[test]
        fn no_change_makes_a_sound_stock_unsound(
            changes in proptest::collection::vec((0..MOVEMENTS.len() + 2, 1..=i64::MAX), 0..60)
        ) {
            let mut stock = stock(1000);
            for (kind, pieces) in changes {
                let delta = match MOVEMENTS.get(kind) {
                    // Small ones are let through, large ones refused.
                    Some(movement) => movement.delta(if pieces % 7 == 0 { pieces } else { pieces % 400 + 1 }),
                    None => adjust(if pieces % 2 == 0 { pieces } else { -(pieces % 100) }),
                };
                if let Ok(after) = stock.changed(delta, NOW) {
                    stock = after;
                }
                prop_assert!(stock.is_sound(), "{stock:?}");
            }
        }
    }
}

//! Amounts.

use serde::{Deserialize, Serialize};

/// An amount in the smallest unit of its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The currency's code by ISO 4217.
    pub currency: String,
    /// The amount, in the smallest unit (cents, say).
    pub minor: i64,
}

impl Money {
    /// So many pieces at this price; `None` when the amount is too large to count.
    pub fn times(&self, quantity: i64) -> Option<Money> {
        Some(Money { currency: self.currency.clone(), minor: self.minor.checked_mul(quantity)? })
    }

    /// Both amounts together; `None` when the currencies differ or the sum is too large to count.
    pub fn plus(&self, other: &Money) -> Option<Money> {
        let minor = self.minor.checked_add(other.minor)?;
        (self.currency == other.currency).then(|| Money { currency: self.currency.clone(), minor })
    }
}

#[cfg(test)]
mod tests {
    use super::Money;

    fn money(currency: &str, minor: i64) -> Money {
        Money { currency: currency.to_owned(), minor }
    }

    #[test]
    fn amounts_that_can_not_be_counted_are_none() {
        assert_eq!(money("EUR", 420).times(3), Some(money("EUR", 1260)));
        assert_eq!(money("EUR", i64::MAX).times(2), None);
        assert_eq!(money("EUR", i64::MIN).times(-1), None);
        assert_eq!(money("EUR", 1).plus(&money("EUR", 2)), Some(money("EUR", 3)));
        assert_eq!(money("EUR", i64::MAX).plus(&money("EUR", 1)), None);
        assert_eq!(money("EUR", 1).plus(&money("JPY", 1)), None);
    }
}

//! Amounts of money, as letters show them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many decimals an amount is shown with at most.
const MAX_DIGITS: u32 = 9;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// The ISO 4217 code of the currency.
    pub currency: String,
    /// The amount in the currency's smallest unit.
    pub minor: i64,
    /// How many decimals the smallest unit has: 2 for EUR, 0 for JPY.
    pub digits: u32,
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.min(MAX_DIGITS);
        let unit = 10_u64.pow(digits);
        let (sign, minor) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        write!(f, "{sign}{}", minor / unit)?;
        if digits > 0 {
            write!(f, ".{:0width$}", minor % unit, width = digits as usize)?;
        }
        write!(f, " {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(minor: i64, digits: u32) -> Amount {
        Amount { currency: "EUR".to_owned(), minor, digits }
    }

    #[test]
    fn decimals_are_those_of_the_currency() {
        assert_eq!(amount(1250, 2).to_string(), "12.50 EUR");
        assert_eq!(amount(5, 2).to_string(), "0.05 EUR");
        assert_eq!(amount(-5, 2).to_string(), "-0.05 EUR");
        assert_eq!(amount(1250, 0).to_string(), "1250 EUR");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_amount(minor: i64, digits in 0_u32..=9) {
            let shown = amount(minor, digits).to_string();
            let number = shown.strip_suffix(" EUR").unwrap();
            let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            prop_assert_eq!(decimals, digits as usize);
            prop_assert_eq!(number.replace('.', "").parse::<i64>().unwrap(), minor);
        }
    }
}

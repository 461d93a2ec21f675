//! Amounts between the domain and the contracts.

use meshwork_api::google::r#type::Money as MoneyProto;
use meshwork_chassis::money;

use crate::domain::Money;

pub(super) fn money_to_proto(money: &Money) -> MoneyProto {
    money::money(&money.currency, money.minor)
}

/// The amount as errors tell it: its digits, with a point before those of the smallest unit.
pub(super) fn amount(money: &Money) -> String {
    let digits = money::currency_digits(&money.currency).unwrap_or(2);
    let unit = 10_u64.pow(digits);
    let (sign, minor) = (if money.minor < 0 { "-" } else { "" }, money.minor.unsigned_abs());
    match usize::try_from(digits) {
        Ok(width @ 1..) => format!("{sign}{}.{:0width$}", minor / unit, minor % unit),
        _ => format!("{sign}{minor}"),
    }
}

/// The amount that a caller expects: a whole number of the smallest unit of a currency, not below zero.
pub(super) fn expected_money(money: &MoneyProto) -> Option<Money> {
    money::currency_digits(&money.currency_code)?;
    let is_amount = money.units >= 0 && (0..1_000_000_000).contains(&money.nanos);
    money_from_proto(Some(money)).filter(|_| is_amount)
}

/// The amount; `None` when there is none, or one that isn't a whole number of the currency's smallest unit.
pub(super) fn money_from_proto(money: Option<&MoneyProto>) -> Option<Money> {
    let money = money?;
    let minor = money::minor(money)?;
    Some(Money { currency: money.currency_code.clone(), minor })
}

#[cfg(test)]
mod tests {
    use super::{MoneyProto, amount, expected_money};
    use crate::domain::Money;

    #[test]
    fn d12_amounts_are_told_with_the_digits_of_their_currency() {
        let amount = |currency: &str, minor| amount(&Money { currency: currency.to_owned(), minor });
        assert_eq!(amount("EUR", 2040), "20.40");
        assert_eq!(amount("EUR", 5), "0.05");
        assert_eq!(amount("EUR", -5), "-0.05");
        assert_eq!(amount("JPY", 2040), "2040");
        assert_eq!(amount("KWD", 2040), "2.040");
        assert_eq!(amount("EUR", i64::MIN), "-92233720368547758.08");
    }

    #[test]
    fn d12_what_is_no_amount_is_not_expected() {
        let money = |code: &str, units, nanos| MoneyProto { currency_code: code.to_owned(), units, nanos };
        assert_eq!(expected_money(&money("EUR", 20, 400_000_000)).unwrap().minor, 2040);
        for none in [
            money("", 1, 0),
            money("eur", 1, 0),
            money("ABC", 1, 0),
            money("EUR", -1, 0),
            money("EUR", 1, -10_000_000),
            money("EUR", 1, 1),
            money("EUR", 1, 1_000_000_000),
            money("EUR", i64::MAX, 0),
        ] {
            assert_eq!(expected_money(&none), None, "{none:?}");
        }
    }
}

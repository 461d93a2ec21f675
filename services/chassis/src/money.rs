//! Amounts of money, as requests carry them and services count them.

use meshwork_aip::Violations;
use meshwork_api::google::r#type::Money;

/// A price: a known currency's code, above zero, at most 1,000,000 units, with no more than the currency's usual
/// two decimals (none where the currency has none). Returns (currency, minor units).
pub fn price(violations: &mut Violations, money: Option<&Money>, field: &str) -> Option<(String, i64)> {
    let Some(money) = money else {
        violations.add(field, "is required");
        return None;
    };
    let faults = violations.count();
    let code = money.currency_code.as_str();
    let digits = currency_digits(code);
    violations.check(
        digits.is_some(),
        &format!("{field}.currency_code"),
        "must be the ISO 4217 code of a currency in use, such as EUR",
    );
    let digits = digits.unwrap_or(2);
    violations.check(
        (0..=1_000_000).contains(&money.units) && (money.units < 1_000_000 || money.nanos == 0),
        &format!("{field}.units"),
        "must be 0 to 1,000,000",
    );
    let step = 10_i32.pow(9 - digits);
    violations.check(
        (0..1_000_000_000).contains(&money.nanos) && money.nanos % step == 0,
        &format!("{field}.nanos"),
        format_args!("must be 0 to 999,999,999 in whole steps of {step}, the smallest unit of the currency"),
    );
    if violations.count() > faults {
        return None;
    }
    let minor = money.units * 10_i64.pow(digits) + i64::from(money.nanos / step);
    violations.check(minor > 0, field, "must be above zero");
    (minor > 0).then(|| (code.to_owned(), minor))
}

/// How many decimals the smallest unit of a currency has; `None` for a code that is not in use.
pub fn currency_digits(code: &str) -> Option<u32> {
    let currency = iso_currency::Currency::from_code(code)?;
    // Codes of metals and of accounts have no smallest unit, and nobody pays with them.
    currency.exponent().map(u32::from).filter(|digits| *digits <= 3)
}

/// An amount in minor units, as contracts carry it.
pub fn money(currency: &str, minor: i64) -> Money {
    let digits = currency_digits(currency).unwrap_or(2);
    let unit = 10_i64.pow(digits);
    // A remainder is below `unit`, so the nanos are below 10^9.
    let nanos = i32::try_from((minor % unit) * 10_i64.pow(9 - digits)).unwrap_or_default();
    Money { currency_code: currency.to_owned(), units: minor / unit, nanos }
}

/// An amount in the smallest unit of its currency; `None` for an unknown currency, for a fraction of that unit and for
/// an amount too large to count.
pub fn minor(money: &Money) -> Option<i64> {
    let digits = currency_digits(&money.currency_code)?;
    let step = 10_i64.pow(9 - digits);
    let nanos = i64::from(money.nanos);
    (nanos % step == 0).then_some(())?;
    money.units.checked_mul(10_i64.pow(digits))?.checked_add(nanos / step)
}

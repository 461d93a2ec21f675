//! Amounts of money, as requests carry them and services count them.

use meshwork_aip::Violations;
use meshwork_api::google::r#type::Money;

/// A new price: the code of a currency in use today, above zero, at most 1,000,000 units, with no more than the
/// currency's usual two decimals (none where the currency has none). Returns (currency, minor units).
pub fn price(violations: &mut Violations, money: Option<&Money>, field: &str) -> Option<(String, i64)> {
    let Some(money) = money else {
        violations.add(field, "is required");
        return None;
    };
    let faults = violations.count();
    let code = money.currency_code.as_str();
    let digits = currency_digits(code).filter(|_| is_in_use(code));
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

/// How many decimals the smallest unit of a currency has; `None` for a code that is none of money. Codes that have gone
/// out of use are still known.
pub fn currency_digits(code: &str) -> Option<u32> {
    let currency = iso_currency::Currency::from_code(code)?;
    // Codes of metals and of accounts have no smallest unit, and nobody pays with them.
    currency.exponent().map(u32::from).filter(|digits| *digits <= 3)
}

/// Whether people pay in the currency today: it has not given way to another, and is no fund's unit of account.
fn is_in_use(code: &str) -> bool {
    use iso_currency::Currency;
    // The crate takes the bolívar for superseded; in ISO 4217 the VED stands beside it.
    Currency::from_code(code).is_some_and(|currency| currency.flags().is_empty() || matches!(currency, Currency::VES))
}

/// An amount in minor units, as contracts carry it.
pub fn money(currency: &str, minor: i64) -> Money {
    let digits = currency_digits(currency).unwrap_or(2);
    let unit = 10_i64.pow(digits);
    // A remainder is below `unit`, so the nanos are below 10^9.
    let nanos = i32::try_from((minor % unit) * 10_i64.pow(9 - digits)).unwrap_or_default();
    Money { currency_code: currency.to_owned(), units: minor / unit, nanos }
}

/// An amount in the smallest unit of its currency; `None` for what is no currency's code, for a fraction of that unit
/// and for an amount too large to count.
///
/// What was priced once stays readable: a code that isn't known any more has two decimals, as it has for [`money`].
pub fn minor(money: &Money) -> Option<i64> {
    let code = money.currency_code.as_str();
    (code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase())).then_some(())?;
    let digits = currency_digits(code).unwrap_or(2);
    let step = 10_i64.pow(9 - digits);
    let nanos = i64::from(money.nanos);
    (nanos % step == 0).then_some(())?;
    money.units.checked_mul(10_i64.pow(digits))?.checked_add(nanos / step)
}

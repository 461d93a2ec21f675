//! Checks of request fields. All faults of a request are gathered and answered together.

use std::fmt::Display;
use std::str::FromStr;

use meshwork::errors::bounded;
use meshwork_api::google::r#type::Money;
use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt};
use uuid::{Uuid, Variant};

use crate::errors::INVALID_FIELDS;

/// How many faults of a request are told.
pub const MAX_VIOLATIONS: usize = 20;
/// The most bytes of a field's path.
const MAX_FIELD: usize = 96;
/// The most bytes of a description; one with a caller's text of 64 characters fits.
const MAX_DESCRIPTION: usize = 360;
/// The most bytes of all fields and descriptions. With the message, which repeats the first of them, and what else a
/// status has, it stays below 8 KiB on its way; see [`meshwork::errors`].
const MAX_BYTES: usize = 3300;

/// The faults found in a request so far. The first 20 are told, and fewer when they are long; of what comes behind them
/// the number is.
#[derive(Debug, Default)]
pub struct Violations {
    /// The first faults: field and description.
    told: Vec<(String, String)>,
    /// The bytes of `told`.
    bytes: usize,
    /// How many there are, those of `told` among them.
    found: usize,
}

impl Violations {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault: the field's path, such as `order.lines[0].quantity`, and what would be right. A path is cut at 96
    /// bytes and a description at 360; what a caller has sent belongs into either by [`echo`](crate::echo::echo) only.
    ///
    /// A fault that won't be told is not even printed, and costs nothing.
    pub fn add(&mut self, field: impl Display, description: impl Display) {
        self.found += 1;
        // After the first that isn't told none is, so that those that are told are the first.
        if self.told.len() + 1 < self.found || self.told.len() == MAX_VIOLATIONS {
            return;
        }
        let fault = (bounded(field, MAX_FIELD), bounded(description, MAX_DESCRIPTION));
        let bytes = self.bytes + fault.0.len() + fault.1.len();
        if bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.told.push(fault);
        }
    }

    /// Adds a fault unless `holds`.
    pub fn check(&mut self, holds: bool, field: &str, description: impl Display) {
        if !holds {
            self.add(field, description);
        }
    }

    /// A text of `min` to `max` characters without control characters (line breaks and tabs are allowed).
    pub fn text(&mut self, value: &str, field: &str, min: usize, max: usize) {
        let range = if min == 0 { format!("at most {max}") } else { format!("{min} to {max}") };
        // A character has at most four bytes: so much can't be right, and is not looked at.
        if value.len() > max.saturating_mul(4) {
            return self.add(field, format_args!("must have {range} characters"));
        }
        let length = value.trim().chars().count();
        if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.add(field, "must not contain control characters");
        } else if length < min || value.chars().count() > max {
            self.add(field, format_args!("must have {range} characters"));
        }
    }

    /// A name of the kind that is expected.
    pub fn name<N>(&mut self, value: &str, field: &str) -> Option<N>
    where
        N: FromStr<Err: Display>,
    {
        match value.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.add(field, error);
                None
            }
        }
    }

    /// An id that the caller chose: 4 to 63 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`, or a
    /// lower-case UUID.
    pub fn chosen_id(&mut self, id: &str, field: &str) {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let shaped = (4..=63).contains(&id.len()) && id.bytes().all(letter) && !id.ends_with('-');
        let starts = id.starts_with(|c: char| c.is_ascii_lowercase());
        self.check(
            shaped && (starts || is_uuid(id)),
            field,
            "must be 4 to 63 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`, or a lower-case UUID",
        );
    }

    /// A lower-case UUID, but not the nil one.
    pub fn uuid(&mut self, value: &str, field: &str) {
        self.check(is_uuid(value), field, "must be a UUID in lower case, like 7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d");
    }

    /// A request id: empty, or a lower-case UUID of version 4 (AIP-155).
    pub fn request_id(&mut self, value: &str) {
        self.check(
            value.is_empty() || is_uuid4(value),
            "request_id",
            "must be a random UUID (version 4) in lower case, like 7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d",
        );
    }

    /// A new price: the code of a currency in use today, above zero, at most 1,000,000 units, with no more than the
    /// currency's usual two decimals (none where the currency has none). Returns (currency, minor units).
    pub fn price(&mut self, money: Option<&Money>, field: &str) -> Option<(String, i64)> {
        let Some(money) = money else {
            self.add(field, "is required");
            return None;
        };
        let faults = self.found;
        let code = money.currency_code.as_str();
        let digits = currency_digits(code).filter(|_| is_in_use(code));
        self.check(
            digits.is_some(),
            &format!("{field}.currency_code"),
            "must be the ISO 4217 code of a currency in use, such as EUR",
        );
        let digits = digits.unwrap_or(2);
        self.check(
            (0..=1_000_000).contains(&money.units) && (money.units < 1_000_000 || money.nanos == 0),
            &format!("{field}.units"),
            "must be 0 to 1,000,000",
        );
        let step = 10_i32.pow(9 - digits);
        self.check(
            (0..1_000_000_000).contains(&money.nanos) && money.nanos % step == 0,
            &format!("{field}.nanos"),
            format_args!("must be 0 to 999,999,999 in whole steps of {step}, the smallest unit of the currency"),
        );
        if self.found > faults {
            return None;
        }
        let minor = money.units * 10_i64.pow(digits) + i64::from(money.nanos / step);
        self.check(minor > 0, field, "must be above zero");
        (minor > 0).then(|| (code.to_owned(), minor))
    }

    /// Ends the check.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the first faults, when there is one. The message, the last fault's description and the metadata
    /// `unlisted` say how many more there are.
    pub fn finish(mut self, domain: &str) -> Result<(), Status> {
        let unlisted = self.found - self.told.len();
        let Some((field, description)) = self.told.first() else { return Ok(()) };
        let (mut message, field) = (format!("{field} {description}"), field.clone());
        let number = unlisted.to_string();
        let mut metadata = vec![("field", field.as_str())];
        if unlisted > 0 {
            let more = match unlisted {
                1 => "; 1 more fault of the request is not listed".to_owned(),
                _ => format!("; {unlisted} more faults of the request are not listed"),
            };
            message += &more;
            if let Some((_, last)) = self.told.last_mut() {
                *last += &more;
            }
            metadata.push(("unlisted", &number));
        }
        let mut details = INVALID_FIELDS.details(domain, &metadata);
        let told = self.told.into_iter();
        let told = told.map(|(field, description)| FieldViolation { field, description, ..Default::default() });
        details.set_bad_request(told.collect::<Vec<_>>());
        Err(Status::with_error_details(Code::InvalidArgument, message, details))
    }
}

/// Whether `value` is a UUID in its usual form, in lower case, and not the nil one.
pub fn is_uuid(value: &str) -> bool {
    parse_uuid(value).is_some()
}

/// Whether `value` is a UUID of version 4 (RFC 9562) in its usual form, in lower case.
fn is_uuid4(value: &str) -> bool {
    parse_uuid(value).is_some_and(|id| id.get_version_num() == 4 && id.get_variant() == Variant::RFC4122)
}

fn parse_uuid(value: &str) -> Option<Uuid> {
    let usual = value.len() == 36 && !value.bytes().any(|b| b.is_ascii_uppercase());
    if !usual {
        return None;
    }
    Uuid::try_parse(value).ok().filter(|id| !id.is_nil())
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

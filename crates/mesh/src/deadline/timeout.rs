//! `grpc-timeout`: how long a call may take, as its metadata says it.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

/// The header. A name that is made once is found without being parsed.
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The largest number that a value may hold: eight digits.
const MAX: u64 = 99_999_999;

/// Units from the finest, in nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// How many bytes of a value are shown: callers choose it.
const SHOWN: usize = 64;

/// A value of `grpc-timeout` that gRPC doesn't allow, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is one to eight digits and a unit of H, M, S, m, u, n; not {0:?}")]
pub struct InvalidTimeout(String);

impl InvalidTimeout {
    /// The header stands there more than once.
    pub(super) fn repeated() -> Self {
        Self("several values".to_owned())
    }
}

/// Reads a value.
///
/// # Errors
/// When it isn't one to eight digits and a unit.
pub fn parse_timeout(value: &HeaderValue) -> Result<Duration, InvalidTimeout> {
    let bytes = value.as_bytes();
    let invalid = || InvalidTimeout(String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned());
    let (unit, digits) = bytes.split_last().ok_or_else(invalid)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid());
    }
    let number = digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit).ok_or_else(invalid)?;
    // Below 99,999,999 hours, which is well inside of 64 bits of seconds.
    let nanos = u128::from(number) * u128::from(*nanos);
    Ok(Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

/// Writes a value in the finest unit that eight digits allow; what doesn't fit the unit is cut off, so that a server gives
/// up no later than its client. Above zero never becomes zero. One allocation, by [`HeaderValue`].
pub fn encode_timeout(timeout: Duration) -> HeaderValue {
    // In 64 bits, since divisions of 128 take many times as long; they hold 584 years, which are less than MAX hours.
    let nanos = u64::try_from(timeout.as_nanos()).ok();
    let fits = nanos
        .and_then(|nanos| UNITS.iter().map(|(name, unit)| (*name, nanos / unit)).find(|(_, number)| *number <= MAX));
    let (unit, mut number) = fits.unwrap_or_else(|| (b'H', (timeout.as_secs() / 3600).min(MAX)));
    let mut text = [0_u8; 9];
    let mut start = text.len() - 1;
    text[start] = unit;
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    // Digits and a letter are always a value.
    HeaderValue::from_bytes(&text[start..]).unwrap_or(HeaderValue::from_static("0n"))
}

//! Times as our stores keep them: whole microseconds since 1970, in UTC.

use time::OffsetDateTime;

/// The time as a store keeps it. What is below a microsecond is cut off.
pub fn to_micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// The time that [`to_micros`] gave; 1970 for a number out of range.
pub fn from_micros(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

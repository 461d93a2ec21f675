//! Time: a clock that tests can set, and conversions.

use time::OffsetDateTime;

/// Tells the time. Services ask it instead of the system, so that tests can set it.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// The time as contracts carry it.
pub fn timestamp(time: OffsetDateTime) -> prost_types::Timestamp {
    // A nanosecond of a second is below 10^9 and fits.
    prost_types::Timestamp { seconds: time.unix_timestamp(), nanos: time.nanosecond().cast_signed() }
}

/// The time as stores keep it: microseconds since 1970.
pub fn to_micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// The time that [`to_micros`] gave; 1970 for a number out of range.
pub fn from_micros(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

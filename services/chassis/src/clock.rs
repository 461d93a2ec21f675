//! Time: a clock that tests can set, and conversions.

use time::OffsetDateTime;

/// Tells the time. Services ask it instead of the system, so that tests can set it.
pub trait Clock: Send + Sync + 'static {
    /// The time now, in UTC, in whole microseconds: stores keep no more, and a first answer must not tell more than what
    /// is read back later.
    fn now(&self) -> OffsetDateTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        now.truncate_to_microsecond()
    }
}

/// The time as contracts carry it.
pub fn timestamp(time: OffsetDateTime) -> prost_types::Timestamp {
    // A nanosecond of a second is below 10^9 and fits.
    prost_types::Timestamp { seconds: time.unix_timestamp(), nanos: time.nanosecond().cast_signed() }
}

/// The time that a contract's timestamp tells; `None` for one that is none, or outside the years 1 to 9999.
pub fn from_timestamp(time: &prost_types::Timestamp) -> Option<OffsetDateTime> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let seconds = OffsetDateTime::from_unix_timestamp(time.seconds).ok()?;
    (1..=9999).contains(&seconds.year()).then(|| seconds.replace_nanosecond(nanos).ok())?
}

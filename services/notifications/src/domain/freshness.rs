//! What is too old to be mailed about.

use std::time::Duration;

use time::OffsetDateTime;

/// Which events are mailed about, by their age. A service that is new to a bus, and a consumer that is replayed, meet events
/// which their customers have long forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Whether events from before the service's first start are mailed about as well.
    pub mail_old_events: bool,
    /// How old an event may be.
    pub max_age: Duration,
}

impl Freshness {
    /// Whether an event of this time is mailed about by a service that first started at `start`.
    pub fn admits(&self, event: OffsetDateTime, start: OffsetDateTime, now: OffsetDateTime) -> bool {
        let age = Duration::try_from(now - event).unwrap_or_default();
        (self.mail_old_events || event >= start) && age <= self.max_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_service_or_than_the_bound_is_not_mailed_about() {
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let strict = Freshness { mail_old_events: false, max_age: Duration::from_secs(10) };
        let lenient = Freshness { mail_old_events: true, ..strict };
        for (event, start, now, by_strict, by_lenient) in [
            (5, 5, 5, true, true),
            (4, 5, 5, false, true),
            (5, 5, 15, true, true),
            (5, 5, 16, false, false),
            // By a clock that is ahead of ours.
            (9, 5, 6, true, true),
        ] {
            assert_eq!(strict.admits(at(event), at(start), at(now)), by_strict, "{event} {start} {now}");
            assert_eq!(lenient.admits(at(event), at(start), at(now)), by_lenient, "{event} {start} {now}");
        }
    }
}

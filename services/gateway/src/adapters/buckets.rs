//! How many calls a client may make: a bucket of tokens per client, which fills steadily and holds a burst.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::domain::Client;
use crate::ports::CallLimits;

/// A rate is not above zero, or too small or too large to count with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidRate(f64);

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls per second is no rate", self.0)
    }
}

/// The buckets of all clients.
pub struct RateLimits<C: Clock = DefaultClock> {
    buckets: RateLimiter<Client, DefaultKeyedStateStore<Client>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl RateLimits {
    /// Buckets that hold `burst` calls and get `per_second` back.
    ///
    /// # Errors
    /// When the rate is not above zero, or beyond one call per nanosecond or per century.
    pub fn new(burst: NonZeroU32, per_second: f64) -> Result<Self, InvalidRate> {
        Self::with_clock(burst, per_second, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    /// As [`RateLimits::new`], by a given clock.
    ///
    /// # Errors
    /// As [`RateLimits::new`].
    pub fn with_clock(burst: NonZeroU32, per_second: f64, clock: C) -> Result<Self, InvalidRate> {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let invalid = InvalidRate(per_second);
        let period = Duration::try_from_secs_f64(per_second.recip()).map_err(|_| invalid)?;
        let quota = Quota::with_period(period).filter(|_| period <= CENTURY).ok_or(invalid)?;
        let buckets = RateLimiter::new(quota.allow_burst(burst), DefaultKeyedStateStore::default(), clock.clone());
        Ok(Self { buckets, clock })
    }

    /// Forgets the clients whose buckets have been full for as long as one call takes to come back: they are as good as
    /// new. Called now and then, it bounds the memory by the clients of about the time that a bucket takes to fill.
    pub fn forget_idle(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }

    /// How many clients are remembered.
    pub fn clients(&self) -> usize {
        self.buckets.len()
    }
}

impl<C> CallLimits for RateLimits<C>
where
    C: Clock + Clone + Send + Sync + 'static,
    C::Instant: Send + Sync,
{
    fn take(&self, client: &Client) -> Result<(), Duration> {
        self.buckets.check_key(client).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn limits(burst: u32, per_second: f64) -> (RateLimits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (RateLimits::with_clock(NonZeroU32::new(burst).unwrap(), per_second, clock.clone()).unwrap(), clock)
    }

    fn address(text: &str) -> Client {
        Client::at(text.parse().unwrap())
    }

    #[test]
    fn a_burst_passes_and_the_wait_is_true() {
        let (limits, clock) = limits(3, 10.0);
        let anna = Client::Account("users/anna".parse().unwrap());
        for _ in 0..3 {
            limits.take(&anna).unwrap();
        }
        let wait = limits.take(&anna).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        limits.take(&address("192.0.2.1")).unwrap();
        clock.advance(wait - Duration::from_nanos(1));
        limits.take(&anna).unwrap_err();
        clock.advance(Duration::from_nanos(1));
        limits.take(&anna).unwrap();
        limits.take(&anna).unwrap_err();
    }

    #[test]
    fn idle_clients_are_forgotten_once_their_buckets_are_full() {
        let (limits, clock) = limits(2, 1.0);
        limits.take(&address("192.0.2.1")).unwrap();
        limits.take(&address("192.0.2.2")).unwrap();
        limits.take(&address("192.0.2.2")).unwrap();
        limits.forget_idle();
        assert_eq!(limits.clients(), 2);
        clock.advance(Duration::from_millis(2500));
        limits.forget_idle();
        assert_eq!(limits.clients(), 1);
        clock.advance(Duration::from_secs(1));
        limits.forget_idle();
        assert_eq!(limits.clients(), 0);
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
            assert!(RateLimits::new(NonZeroU32::MIN, rate).is_err(), "{rate}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_of_calls_gets_more_than_burst_plus_rate(
            burst in 1_u32..20,
            pauses in prop::collection::vec(0_u64..300, 1..300),
        ) {
            let (limits, clock) = limits(burst, 10.0);
            let client = address("192.0.2.1");
            let (mut admitted, mut elapsed) = (0_u64, 0_u64);
            for pause in pauses {
                clock.advance(Duration::from_millis(pause));
                elapsed += pause;
                admitted += u64::from(limits.take(&client).is_ok());
                prop_assert!(admitted <= u64::from(burst) + elapsed / 100);
            }
        }
    }
}

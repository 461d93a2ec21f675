//! How many calls in which time, in whole numbers.

use std::time::Duration;

/// The largest number that limits are counted in: the numbers of Lua are exact up to 2⁵³, sums and quotients included.
pub(super) const EXACT: u64 = 1 << 52;

/// How far from the wanted rate a counted one may be, as a share of it.
const TOLERANCE: f64 = 1e-6;
/// So near, a nearer one isn't looked for.
const NEAR: f64 = 1e-12;

const MICROS_PER_SECOND: f64 = 1e6;

/// A rate: a bucket that holds `burst` tokens and gets some back in each period, one token a call. In any time `t` it admits
/// at most `burst + rate × t` calls.
///
/// It is counted in whole numbers, in token·µs or, for long periods, token·ms: it never drifts, and every server that counts
/// by the same rate comes to the same result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    burst: u64,
    /// Tokens that come in each `period`.
    count: u64,
    /// Units of time.
    period: u64,
    /// The microseconds of a unit: 1 or 1000.
    unit: u64,
}

/// What can't be counted as a rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidRate {
    /// The burst is 0: no call would ever pass.
    #[error("a burst of 0 admits no call; set it to at least 1")]
    NoBurst,
    /// The number is not above zero, or not finite.
    #[error("{0} calls per second is no rate; set a number above zero")]
    NoRate(f64),
    /// No tokens, or a period that is no whole number of microseconds above 0.
    #[error("{tokens} tokens in {period:?} is no rate; set at least 1 token and whole microseconds")]
    NoPeriod {
        /// The tokens of a period.
        tokens: u64,
        /// The period.
        period: Duration,
    },
    /// Burst and period, or the tokens of a period, are too large to be counted exactly.
    #[error("a burst of {0} at this rate is too large to be counted exactly; set a smaller burst or a rounder rate")]
    TooLarge(u64),
}

impl Rate {
    /// A bucket of `burst` tokens that gets `tokens` back in each `period`; steadily, not at the period's end.
    ///
    /// # Errors
    /// When one of them is 0, the period is no whole number of microseconds, or `burst × period` is beyond 2⁵² ms.
    ///
    /// ```
    /// use std::time::Duration;
    /// use meshwork::server::rate::Rate;
    ///
    /// let three_a_day = Rate::new(3, 3, Duration::from_secs(24 * 60 * 60))?;
    /// assert_eq!(three_a_day.burst(), 3);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    pub fn new(burst: u64, tokens: u64, period: Duration) -> Result<Self, InvalidRate> {
        if burst == 0 {
            return Err(InvalidRate::NoBurst);
        }
        if tokens == 0 || period.is_zero() || !period.subsec_nanos().is_multiple_of(1000) {
            return Err(InvalidRate::NoPeriod { tokens, period });
        }
        Self::counted(burst, u128::from(tokens), period.as_micros()).ok_or(InvalidRate::TooLarge(burst))
    }

    /// A bucket of `burst` tokens that gets `per_second` back in a second, as a configuration says it: 0.5 is one in two
    /// seconds. The number is taken for the nearest fraction that can be counted exactly, at most a millionth beside it.
    ///
    /// # Errors
    /// When the burst is 0, the number is not above zero, or the two can't be counted.
    ///
    /// ```
    /// use meshwork::server::rate::Rate;
    ///
    /// assert_eq!(Rate::per_second(100, 10.0)?.tokens_per_second(), 10.0);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    pub fn per_second(burst: u64, per_second: f64) -> Result<Self, InvalidRate> {
        if burst == 0 {
            return Err(InvalidRate::NoBurst);
        }
        let wanted = per_second / MICROS_PER_SECOND;
        if !per_second.is_finite() || per_second <= 0.0 || wanted <= 0.0 {
            return Err(InvalidRate::NoRate(per_second));
        }
        // The convergents of its continued fraction: each the nearest fraction of its size.
        let (mut numerators, mut denominators) = ((1_u128, 0_u128), (0_u128, 1_u128));
        let mut rest = wanted;
        let mut best = None;
        for _ in 0..64 {
            let whole = rest.floor();
            if whole > EXACT as f64 {
                break;
            }
            let step = |(last, before): (u128, u128)| (whole as u128).saturating_mul(last).saturating_add(before);
            numerators = (step(numerators), numerators.0);
            denominators = (step(denominators), denominators.0);
            let beside = (numerators.0 as f64 / denominators.0 as f64 - wanted).abs() / wanted;
            if beside <= TOLERANCE {
                best = Self::counted(burst, numerators.0, denominators.0).or(best);
            }
            if beside <= NEAR {
                break;
            }
            rest = (rest - whole).recip();
        }
        best.ok_or(InvalidRate::TooLarge(burst))
    }

    /// In the smaller unit in which it can be counted exactly.
    fn counted(burst: u64, tokens: u128, micros: u128) -> Option<Self> {
        [1_u64, 1000].into_iter().find_map(|unit| {
            let count = tokens.checked_mul(u128::from(unit))?;
            let divisor = greatest_common_divisor(count, micros);
            let (count, period) = (u64::try_from(count / divisor).ok()?, u64::try_from(micros / divisor).ok()?);
            let exact = count <= EXACT && burst.checked_mul(period)? <= EXACT;
            exact.then_some(Self { burst, count, period, unit })
        })
    }

    /// The part of one of so many instances: that fraction of burst and rate; the burst is at least 1.
    pub(super) fn share(&self, instances: u32) -> Self {
        let instances = instances.max(1);
        let burst = (self.burst / u64::from(instances)).max(1);
        let micros = u128::from(self.period) * u128::from(self.unit) * u128::from(instances);
        // Beyond what can be counted the burst is 1 and the period years: that it isn't divided, nobody will see.
        Self::counted(burst, u128::from(self.count), micros).unwrap_or(Self { burst, ..*self })
    }

    /// How many tokens the bucket holds.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// How many tokens come back in a second.
    pub fn tokens_per_second(&self) -> f64 {
        self.count as f64 * MICROS_PER_SECOND / (self.period as f64 * self.unit as f64)
    }

    /// The level of a full bucket, in token·units.
    pub(super) fn capacity(&self) -> u64 {
        self.burst * self.period
    }

    /// What a bucket gets in a unit of time, in token·units.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The time in which an empty bucket fills.
    pub(super) fn window(&self) -> Duration {
        Duration::from_micros(self.refill().saturating_mul(self.unit))
    }

    /// The units of time in which an empty bucket fills.
    pub(super) fn refill(&self) -> u64 {
        self.capacity().div_ceil(self.count)
    }

    /// What so many tokens take from a bucket, in token·units; more than a bucket holds for more tokens than it holds.
    pub(super) fn cost(&self, tokens: u64) -> u64 {
        if tokens > self.burst { self.capacity() + 1 } else { tokens * self.period }
    }

    /// The whole tokens of a level.
    pub(super) fn tokens(&self, level: u64) -> u64 {
        level / self.period
    }

    /// The microseconds of a unit of time.
    pub(super) fn unit(&self) -> u64 {
        self.unit
    }

    /// Tells buckets of one rate from those of another.
    pub(super) fn id(&self) -> String {
        let Self { burst, count, period, unit } = self;
        format!("{burst}-{count}-{period}-{}", if *unit == 1 { "us" } else { "ms" })
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn rl_2_rates_from_one_a_day_to_fifty_thousand_a_second_are_exact() {
        let rate = |burst, count, period, unit| Rate { burst, count, period, unit };
        assert_eq!(Rate::new(1, 1, DAY), Ok(rate(1, 1, 86_400_000_000, 1)));
        assert_eq!(Rate::per_second(1, 1.0 / 86_400.0), Ok(rate(1, 1, 86_400_000_000, 1)));
        assert_eq!(Rate::per_second(100, 10.0), Ok(rate(100, 1, 100_000, 1)));
        assert_eq!(Rate::per_second(1000, 50_000.0), Ok(rate(1000, 1, 20, 1)));
        assert_eq!(Rate::per_second(1, 1.0 / 3.0), Ok(rate(1, 1, 3_000_000, 1)));
        assert_eq!(Rate::per_second(1, 7.3), Ok(rate(1, 73, 10_000_000, 1)));
        assert_eq!(Rate::per_second(5, 3e9), Ok(rate(5, 3000, 1, 1)));
        // Too large in microseconds.
        assert_eq!(Rate::new(100_000, 1, DAY), Ok(rate(100_000, 1, 86_400_000, 1000)));
        assert_eq!(Rate::per_second(100_000, 1.0 / 86_400.0), Ok(rate(100_000, 1, 86_400_000, 1000)));
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for number in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300] {
            assert!(Rate::per_second(1, number).is_err(), "{number}");
        }
        assert!(Rate::per_second(1, 1e300).is_err());
        assert_eq!(Rate::per_second(0, 1.0), Err(InvalidRate::NoBurst));
        assert_eq!(Rate::new(0, 1, DAY), Err(InvalidRate::NoBurst));
        assert!(Rate::new(1, 0, DAY).is_err());
        assert!(Rate::new(1, 1, Duration::ZERO).is_err());
        assert!(Rate::new(1, 1, Duration::from_nanos(1001)).is_err());
        assert_eq!(Rate::new(u64::MAX, 1, DAY), Err(InvalidRate::TooLarge(u64::MAX)));
    }

    #[test]
    fn rl_6_the_shares_of_all_instances_are_no_more_than_the_rate() {
        let rate = Rate::per_second(100, 10.0).unwrap();
        let share = rate.share(4);
        assert_eq!((share.burst(), share.tokens_per_second()), (25, 2.5));
        assert_eq!(rate.share(0), rate);
        assert_eq!(rate.share(1000).burst(), 1);
        assert!((rate.share(1000).tokens_per_second() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn rl_2_any_number_is_counted_to_a_millionth() {
        let random = crate::random::Random::seeded(7);
        for _ in 0..10_000 {
            let wanted = 10_f64.powf(random.between(-5.0, 6.0));
            let counted = Rate::per_second(1 + random.next_u64() % 1000, wanted).unwrap().tokens_per_second();
            assert!((counted - wanted).abs() <= wanted * TOLERANCE, "{wanted} is counted as {counted}");
        }
    }
}

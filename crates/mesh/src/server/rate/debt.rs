//! What a process has admitted by itself while a shared bucket was out of reach, and owes it (RL-6).

use super::Rate;

/// What a shared bucket has to be charged with before anything more is taken from it: at most a burst, as it never goes below
/// zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Debt {
    /// In token·units of the rate.
    level: u64,
    /// From when on it lessens, in microseconds, as all times here.
    lessens: u64,
    /// When nothing is left of it.
    pub until: u64,
}

impl Debt {
    /// With a token more, that one of so many instances has admitted at `now`.
    ///
    /// It doesn't lessen before the shared bucket is full, however empty it was: what would come back to that one later is lost
    /// there, and pays off the debts of all instances instead, of each a share. So who calls seldom owes nothing after a long
    /// outage, and `burst + rate × t` still holds.
    pub fn more(self, rate: &Rate, instances: u32, now: u64) -> Self {
        let left = self.left(rate, instances, now);
        let full = now.saturating_add(rate.refill().saturating_mul(rate.unit()));
        let lessens = if left == 0 { full } else { self.lessens.max(now) };
        Self::of(left + rate.cost(1), lessens, rate, instances)
    }

    /// With a token less; `None` unless one is owed at `now`.
    pub fn less(self, rate: &Rate, instances: u32, now: u64) -> Option<Self> {
        match self.left(rate, instances, now).checked_sub(rate.cost(1))? {
            0 => Some(Self::default()),
            left => Some(Self::of(left, self.lessens.max(now), rate, instances)),
        }
    }

    /// Both at `now`.
    pub fn and(self, other: Self, rate: &Rate, instances: u32, now: u64) -> Self {
        match (self.left(rate, instances, now), other.left(rate, instances, now)) {
            (0, _) => other,
            (_, 0) => self,
            (one, two) => Self::of(one + two, self.lessens.min(other.lessens).max(now), rate, instances),
        }
    }

    /// What is left of it at `now`, in token·units of the rate.
    pub fn left(&self, rate: &Rate, instances: u32, now: u64) -> u64 {
        let units = now.saturating_sub(self.lessens) / rate.unit();
        let paid = u128::from(units) * u128::from(rate.count()) / u128::from(instances.max(1));
        self.level.saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX))
    }

    fn of(level: u64, lessens: u64, rate: &Rate, instances: u32) -> Self {
        let level = level.min(rate.capacity());
        let units = (u128::from(level) * u128::from(instances.max(1))).div_ceil(u128::from(rate.count()));
        let time = u64::try_from(units * u128::from(rate.unit())).unwrap_or(u64::MAX);
        Self { level, lessens, until: lessens.saturating_add(time) }
    }
}

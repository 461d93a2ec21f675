//! The token bucket: plain functions over its level and the time, in whole numbers. The Redis script does the same sums.

use std::time::Duration;

use super::Rate;

/// A bucket that isn't full; one that is missing is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// In token·units of its rate.
    pub level: u64,
    /// When it had this level, in units of its rate.
    pub at: u64,
}

/// What a bucket says to one who wants tokens. The times are in units of its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether there are enough of them.
    pub allowed: bool,
    /// The whole tokens that are left.
    pub remaining: u64,
    /// When there will be enough; 0 when there are.
    pub retry_after: u64,
    /// When it will be full.
    pub reset: u64,
}

impl Bucket {
    /// The bucket at `now`, of which `stored` is what is known. A clock that goes back fills nothing; one that was far
    /// ahead (of a server that was replaced) holds up nobody for longer than a bucket takes to fill.
    pub fn filled(rate: &Rate, stored: Option<Self>, now: u64) -> Self {
        let capacity = rate.capacity();
        let Some(Self { level, at }) = stored else { return Self { level: capacity, at: now } };
        let level = level.min(capacity);
        let at = at.min(now + rate.refill());
        if now <= at {
            return Self { level, at };
        }
        let elapsed = now - at;
        // Compared first: the product may be beyond every number.
        let full = elapsed >= (capacity - level).div_ceil(rate.count());
        Self { level: if full { capacity } else { level + elapsed * rate.count() }, at: now }
    }

    /// What it says at `now` to one who wants `tokens`, and how it is when they are taken.
    pub fn ask(self, rate: &Rate, tokens: u64, now: u64) -> (Verdict, Self) {
        let cost = rate.cost(tokens);
        let allowed = cost <= self.level;
        let left = if allowed { Self { level: self.level - cost, ..self } } else { self };
        let retry_after = if allowed { 0 } else { left.until(rate, cost, now) };
        let verdict = Verdict {
            allowed,
            remaining: rate.tokens(left.level),
            retry_after,
            reset: left.until(rate, rate.capacity(), now),
        };
        (verdict, left)
    }

    /// Takes `tokens`, or as many as there are.
    pub fn charge(self, rate: &Rate, tokens: u64) -> Self {
        Self { level: self.level.saturating_sub(rate.cost(tokens)), ..self }
    }

    /// Gives a token back.
    pub fn give_back(self, rate: &Rate) -> Self {
        Self { level: (self.level + rate.cost(1)).min(rate.capacity()), ..self }
    }

    /// The units from `now` until it has `level`; nobody waits for longer than a bucket takes to fill.
    pub fn until(&self, rate: &Rate, level: u64, now: u64) -> u64 {
        match level.saturating_sub(self.level) {
            0 => 0,
            lacking => (self.at.saturating_sub(now) + lacking.div_ceil(rate.count())).min(rate.refill()),
        }
    }
}

/// So many units of a rate's time.
pub(super) fn duration(rate: &Rate, units: u64) -> Duration {
    Duration::from_micros(units.saturating_mul(rate.unit()))
}

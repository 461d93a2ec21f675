//! What a token bucket is, in numbers that have room for everything.

use crate::server::rate::rate::Rate;

/// A bucket. Plain sums, no care for size.
#[derive(Clone, Debug)]
pub struct Model {
    capacity: u128,
    count: u128,
    period: u128,
    stored: Option<(u128, u128)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Reply {
    pub allowed: bool,
    pub level: u128,
    pub retry_after: u128,
    pub reset: u128,
    /// It is written though nothing is taken: the bucket was written by a clock far ahead, or has paid a debt.
    pub changed: bool,
}

impl Model {
    pub fn new(rate: &Rate) -> Self {
        let capacity = u128::from(rate.capacity());
        Self { capacity, count: rate.count().into(), period: capacity / u128::from(rate.burst()), stored: None }
    }

    /// What it would say when `debt`, in token·units, is taken first, as far as there is something; and how it would be after it.
    pub fn ask(&self, tokens: u64, debt: u64, now: u64) -> (Reply, (u128, u128)) {
        let now = u128::from(now);
        let (mut level, mut at) = self.stored.unwrap_or((self.capacity, now));
        let latest = now + self.capacity.div_ceil(self.count);
        let ahead = at > latest;
        at = at.min(latest);
        level = self.capacity.min(level + now.saturating_sub(at) * self.count);
        at = at.max(now);
        let paid = level.min(debt.into());
        level -= paid;
        let cost = u128::from(tokens) * self.period;
        let allowed = cost <= level;
        let retry_after = self.wait(cost.saturating_sub(level), at - now);
        if allowed {
            level -= cost;
        }
        let reset = self.wait(self.capacity - level, at - now);
        (Reply { allowed, level, retry_after, reset, changed: ahead || paid > 0 }, (level, at))
    }

    /// Keeps what the bucket is after all buckets of the call have said the same.
    pub fn keep(&mut self, left: (u128, u128), allowed: bool, changed: bool) {
        if left.0 == self.capacity {
            self.stored = None;
        } else if allowed || changed {
            self.stored = Some(left);
        }
    }

    pub fn take(&mut self, tokens: u64, now: u64) -> Reply {
        let (reply, left) = self.ask(tokens, 0, now);
        // What asks for nothing leaves what is stored.
        self.keep(left, reply.allowed, reply.changed);
        reply
    }

    pub fn wait_for_full(&self, level: u128, at: u128, now: u64) -> u128 {
        self.wait(self.capacity - level, at - u128::from(now))
    }

    /// Nobody waits for longer than a bucket takes to fill.
    fn wait(&self, lacking: u128, ahead: u128) -> u128 {
        let full = self.capacity.div_ceil(self.count);
        if lacking == 0 { 0 } else { full.min(ahead + lacking.div_ceil(self.count)) }
    }
}

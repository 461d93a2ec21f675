//! What a call to an endpoint would cost, as far as its calls have shown.

use std::time::Duration;

use tokio::time::Instant;

use super::candidate::Candidate;
use super::stamped::ticks;

/// A server with calls in flight that has not answered for so long may have become slower than its average.
const STALE: u32 = ticks(Duration::from_secs(1));

/// A new server may have one call in flight until it first answers; after so long twice as many, and so on. One that is
/// frozen does not swallow many, and open streams, which give no latency, do not keep it from calls for long.
const SLOW_START: u32 = ticks(Duration::from_millis(250));

/// What the cost of a server counts that has as many calls as its slow start allows: more than that of any other.
const BEYOND_SLOW_START: f32 = 1e9;

/// The chance of an answer counts as at least so much, so that servers that always fail have an order among them.
const LEAST_CHANCE: f32 = 1e-6;

/// An endpoint at the time of a pick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    /// Whether it is new and has as many calls as its slow start allows.
    beyond_slow_start: bool,
    nanos: f32,
    /// Whether the server may be slower than `nanos`. It then counts as no quicker than what it is compared with, which
    /// makes calls in flight decide.
    lower_bound: bool,
    /// Calls in flight, the new one among them, over weight.
    queue: f32,
    failure_rate: f32,
}

impl Estimate {
    pub(super) fn of(candidate: &Candidate, now: Instant) -> Self {
        let load = candidate.load();
        let in_flight = load.in_flight();
        let (latency, failure_rate) = load.at(now);
        let slow_start = 1 << (latency.age / SLOW_START).min(31);
        Self {
            beyond_slow_start: !latency.sampled && in_flight >= slow_start,
            nanos: latency.nanos,
            lower_bound: latency.lower_bound || (in_flight > 0 && latency.age > STALE),
            queue: (in_flight + 1) as f32 / candidate.endpoint().get_weight() as f32,
            failure_rate,
        }
    }

    /// Whether a call would wait less at it than at `other`.
    pub(super) fn is_cheaper_than(&self, other: &Self) -> bool {
        (self.beyond_slow_start, self.cost(other.nanos)) < (other.beyond_slow_start, other.cost(self.nanos))
    }

    /// Whether a pick takes it, of which the draw says `chance`, from 0 to 1. A server that fails is passed over in
    /// proportion to its rate of failure: always at 1, in six of ten cases at a fifth, hardly ever at a hundredth.
    pub(super) fn is_taken(&self, chance: f32) -> bool {
        chance < self.chance()
    }

    pub(super) fn failure_rate(&self) -> f32 {
        self.failure_rate
    }

    /// Its latency, where answers have shown it.
    pub(super) fn answered_nanos(&self) -> Option<f32> {
        (!self.lower_bound).then_some(self.nanos)
    }

    /// The cost of a call with a chance of failing; `floor` is the latency to take for what may be slower than is known.
    pub(super) fn expected_cost(&self, floor: f32) -> f32 {
        let factor = if self.beyond_slow_start { BEYOND_SLOW_START } else { 1.0 };
        self.cost(floor) / self.chance().max(LEAST_CHANCE) * factor
    }

    fn cost(&self, floor: f32) -> f32 {
        let nanos = if self.lower_bound { self.nanos.max(floor) } else { self.nanos };
        (nanos + 1.0) * self.queue
    }

    fn chance(&self) -> f32 {
        (1.0 - self.failure_rate).max(0.0).powi(4)
    }
}

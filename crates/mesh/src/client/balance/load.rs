//! How an endpoint fares: calls in flight, latency, rate of failure.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use super::failure_rate::FailureRate;
use super::latency::{Latency, LatencyAverage};
use super::stamped::ticks;
use crate::outcome::Outcome;

/// The load of one endpoint. Reading and writing take no lock.
#[derive(Debug)]
pub struct Load {
    /// When ticks began.
    since: Instant,
    in_flight: AtomicU32,
    latency: LatencyAverage,
    failures: FailureRate,
}

impl Load {
    /// Without calls, and without a latency.
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            in_flight: AtomicU32::new(0),
            latency: LatencyAverage::new(0),
            failures: FailureRate::new(),
        }
    }

    fn ticks(&self, now: Instant) -> u32 {
        ticks(now.saturating_duration_since(self.since))
    }

    /// A call begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// An attempt ended with `outcome`; once for each. Its answer began after the server had been `waited` for so long, or
    /// none came in that time. `None`: it says nothing of latency, as that of a stream.
    ///
    /// A peak counts at once, better times count by and by. Only an answer that is OK says how quick the server is: any
    /// other end says "at least", and counts only if it took longer than the average. Whether it failed goes into the rate
    /// of failure; RESOURCE_EXHAUSTED too, since the server has no room for calls. What a caller did counts not at all.
    pub fn record(&self, now: Instant, waited: Option<Duration>, outcome: Outcome) {
        if let Outcome::Caller(_) = outcome {
            return;
        }
        let now = self.ticks(now);
        if let Some(waited) = waited {
            self.latency.record(now, waited.as_nanos() as f32, outcome == Outcome::Status(Code::Ok));
        }
        if outcome.is_judged() {
            self.failures.record(now, outcome.is_failure() || outcome == Outcome::Status(Code::ResourceExhausted));
        }
    }

    /// The server refused an attempt before its application saw it: REFUSED_STREAM, GOAWAY.
    pub fn refused(&self, now: Instant) {
        self.failures.record(self.ticks(now), true);
    }

    /// The average latency as it counts at `now`: the highest of late, fading. Zero when there was no call for long.
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.latency.at(self.ticks(now)).nanos as u64)
    }

    /// The part of the calls that failed or were refused of late, from 0 to 1. Without calls it falls to 37 % in two seconds.
    pub fn failure_rate(&self, now: Instant) -> f32 {
        self.failures.at(self.ticks(now))
    }

    /// Calls that were sent and whose response has not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Latency in nanoseconds times calls, the new one among them: what a call would have to wait for. Comparable between
    /// endpoints at one time only. It says nothing of failures.
    pub fn cost(&self, now: Instant) -> f32 {
        (self.latency.at(self.ticks(now)).nanos + 1.0) * (self.in_flight() + 1) as f32
    }

    /// What was known of latency and failures counts no more: another process may answer now.
    pub(crate) fn forget(&self) {
        self.latency.forget(self.ticks(Instant::now()));
        self.failures.forget();
    }

    /// Latency and rate of failure at one time.
    pub(super) fn at(&self, now: Instant) -> (Latency, f32) {
        let now = self.ticks(now);
        (self.latency.at(now), self.failures.at(now))
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

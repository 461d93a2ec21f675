//! How busy an endpoint is: calls in flight, and a peak-sensitive moving average of its latency.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Outcome;

/// How long the average remembers: after so much time a peak has faded to 37 %. A server that was a thousand times slower
/// than the others, or failed, and is asked no more, is tried again after seven times as long.
const MEMORY_NANOS: f32 = 1e9;

/// A latency below it is that of a server nobody knows anything of, or no longer.
const UNKNOWN_NANOS: f32 = 1e3;

/// What a second call to such a server costs as latency, before the first one has told of it: more than any known one.
const UNTOLD_NANOS: f32 = 1e15;

/// What a failure counts as at least: a server that fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// The unit of the time stamps, in microseconds.
const TICK_MICROS: u128 = 64;

/// The load of one endpoint. Reading and writing take no lock.
#[derive(Debug)]
pub struct Load {
    /// When ticks began.
    since: Instant,
    in_flight: AtomicU32,
    /// The average in nanoseconds, as f32, in the upper half; when it was true, in ticks, in the lower half.
    latency: AtomicU64,
}

fn pack(nanos: f32, ticks: u32) -> u64 {
    u64::from(nanos.to_bits()) << 32 | u64::from(ticks)
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

/// What is left of `nanos` after `elapsed` ticks.
fn faded(nanos: f32, elapsed: u32) -> f32 {
    // A stamp of another thread may be a little ahead; a minute of ticks is more than a little.
    let elapsed = if elapsed > u32::MAX - (1 << 20) { 0 } else { elapsed };
    if elapsed == 0 {
        return nanos;
    }
    nanos * (-(elapsed as f32 * TICK_MICROS as f32 * 1e3) / MEMORY_NANOS).exp()
}

impl Load {
    /// Without calls, and without a latency.
    pub fn new() -> Self {
        Self { since: Instant::now(), in_flight: AtomicU32::new(0), latency: AtomicU64::new(0) }
    }

    fn ticks(&self, now: Instant) -> u32 {
        // Wraps after three days; differences are taken modulo that.
        (now.saturating_duration_since(self.since).as_micros() / TICK_MICROS) as u32
    }

    /// Calls that were sent and whose response has not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The average latency as it counts at `now`: the highest of late, fading. Zero when there was no call for long.
    pub fn latency(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.latency_nanos(self.ticks(now)) as u64)
    }

    /// Latency times calls, the new one among them: what a call would have to wait for. Comparable between endpoints at
    /// one time only.
    pub fn cost(&self, now: Instant) -> f32 {
        let (latency, in_flight) = (self.latency_nanos(self.ticks(now)), self.in_flight());
        // A server that nobody knows costs next to nothing, so that it gets a call; only when that is back, it gets more.
        let latency = if latency < UNKNOWN_NANOS && in_flight > 0 { UNTOLD_NANOS } else { latency };
        (latency + 1.0) * (in_flight + 1) as f32
    }

    /// What was known of the latency counts no more: another process may answer now.
    pub fn forget(&self) {
        self.latency.store(0, Ordering::Relaxed);
    }

    fn latency_nanos(&self, now: u32) -> f32 {
        let (nanos, stamp) = unpack(self.latency.load(Ordering::Relaxed));
        faded(nanos, now.wrapping_sub(stamp))
    }

    /// A call begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call took `took` until its headers, or until it failed.
    ///
    /// A peak counts at once, better times count by and by. A failure counts as slow. A call that was cancelled counts
    /// only if it was slower than the average: it says "at least". What a caller did counts not at all.
    pub fn record(&self, now: Instant, took: Duration, outcome: Outcome) {
        if let Outcome::Caller(_) = outcome {
            return;
        }
        let took = if outcome.is_failure() { took.max(FAILURE) } else { took };
        let sample = took.as_nanos() as f32;
        let now = self.ticks(now);
        let mut word = self.latency.load(Ordering::Relaxed);
        loop {
            let (nanos, stamp) = unpack(word);
            let elapsed = now.wrapping_sub(stamp);
            let old = faded(nanos, elapsed);
            let new = if sample > old {
                sample
            } else if outcome == Outcome::Cancelled {
                return;
            } else {
                // The longer ago the average was true, the more the new sample counts, as it would have in between.
                let weight = if nanos > 0.0 { old / nanos } else { 0.0 };
                // At a high rate stamps hardly move; each sample counts a little then.
                let weight = weight.min(0.98);
                old * weight + sample * (1.0 - weight)
            };
            match self.latency.compare_exchange_weak(word, pack(new, now), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

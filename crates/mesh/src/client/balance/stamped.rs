//! A value and the time when it was true, in one word that is read and written without a lock.

use std::time::Duration;

/// The unit of time stamps. They wrap after 12 days; differences are taken modulo that.
const TICK: Duration = Duration::from_micros(256);

/// A stamp of another thread may be so many ticks ahead: a minute, which is more than a little.
const AHEAD: u32 = 1 << 18;

/// A value and when it was true.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamped {
    pub value: f32,
    /// In [`ticks`].
    pub at: u32,
}

impl Stamped {
    pub(super) fn pack(self) -> u64 {
        (u64::from(self.value.to_bits()) << 32) | u64::from(self.at)
    }

    pub(super) fn unpack(word: u64) -> Self {
        Self { value: f32::from_bits((word >> 32) as u32), at: word as u32 }
    }

    /// How many ticks ago it was true.
    pub(super) fn age(self, now: u32) -> u32 {
        let age = now.wrapping_sub(self.at);
        if age > u32::MAX - AHEAD { 0 } else { age }
    }
}

/// `time` in ticks.
pub(super) const fn ticks(time: Duration) -> u32 {
    (time.as_micros() / TICK.as_micros()) as u32
}

/// The part of a value that is left after `age` ticks, where 37 % are left after `memory` ticks.
pub(super) fn remainder(age: u32, memory: u32) -> f32 {
    if age == 0 { 1.0 } else { (-(age as f32) / memory as f32).exp() }
}

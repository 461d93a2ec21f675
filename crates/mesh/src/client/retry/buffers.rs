//! How much may be kept to be sent again.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The limits of what a channel keeps of its requests to send it again, and what it keeps now. A call that does not fit is
/// sent, but not repeated once its message is on its way.
#[derive(Debug)]
pub struct Buffers {
    per_call: usize,
    per_channel: usize,
    used: AtomicUsize,
}

impl Default for Buffers {
    /// 1 MiB each call, 16 MiB each channel.
    fn default() -> Self {
        Self::new(1 << 20, 16 << 20)
    }
}

impl Buffers {
    /// At most so many bytes of one call, and of all calls together.
    pub const fn new(per_call: usize, per_channel: usize) -> Self {
        Self { per_call, per_channel, used: AtomicUsize::new(0) }
    }

    /// The bytes that are kept now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether `more` bytes may be kept of a call that keeps `held`; if so, they count.
    pub(super) fn reserve(&self, held: usize, more: usize) -> bool {
        if held.saturating_add(more) > self.per_call {
            return false;
        }
        let take = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.per_channel);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives back what [`Self::reserve`] counted.
    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(super) struct BufferLease<'a> {
    buffers: &'a Buffers,
    bytes: usize,
}

impl<'a> BufferLease<'a> {
    pub(super) fn new(buffers: &'a Buffers, bytes: usize) -> Option<Self> {
        buffers.reserve(0, bytes).then_some(Self { buffers, bytes })
    }
}

impl Drop for BufferLease<'_> {
    fn drop(&mut self) {
        self.buffers.release(self.bytes);
    }
}

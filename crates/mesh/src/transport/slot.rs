//! A place for a stream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::uri::Authority;

use super::state::ConnectionState;

/// A place for one stream, given back when dropped; it goes along with the request to the end of its response.
pub struct StreamSlot {
    pub(super) shared: Arc<ConnectionState>,
}

impl StreamSlot {
    /// A place on a connection, unless the peer's limit is reached or the connection is going.
    ///
    /// Taking a place and giving it back are sequentially consistent, and weaker orders are not enough: who waits joins the
    /// queue and then looks for a place, who gives one back lowers the count and then looks for those who wait. With acquire
    /// and release both could read what was before, and the place would be nobody's. The same holds for the limit, which is
    /// raised before those who wait are looked for. (On x86-64 it costs a call nothing.)
    pub(super) fn reserve(shared: &Arc<ConnectionState>) -> Option<Self> {
        if !shared.is_live() {
            return None;
        }
        let limit = shared.limit.load(Ordering::SeqCst);
        // Never above the limit, not even for a moment: who waits for room would see none, and not be told of it.
        let place = |active| (active < limit).then_some(active + 1);
        shared.active.fetch_update(Ordering::SeqCst, Ordering::SeqCst, place).ok()?;
        Some(Self { shared: Arc::clone(shared) })
    }

    /// The authority of the server that the connection leads to, where it has one of its own: calls over it carry it as
    /// `:authority` in place of the channel's.
    pub fn authority(&self) -> Option<&Authority> {
        self.shared.authority.as_ref()
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let before = self.shared.active.fetch_sub(1, Ordering::SeqCst);
        let limit = self.shared.limit.load(Ordering::SeqCst);
        if (before >= limit || before == 1) && self.shared.room_awaited.load(Ordering::SeqCst) {
            self.shared.room.notify_waiters();
        }
        if before <= limit && self.shared.is_live() {
            self.shared.queue.place();
        }
    }
}

impl fmt::Debug for StreamSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSlot")
    }
}

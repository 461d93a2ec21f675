//! The bytes of messages that are not whole yet: so many for each address, and so many in all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::peer::Network;

/// What each address may have whatever others do.
pub(super) const OWN: usize = 64 << 10;

/// The bytes of messages that are not whole yet.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Above what each address may have.
    shared: usize,
    addresses: HashMap<Option<Network>, usize, RandomState>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // No count is left half changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one call holds of them; given back when dropped.
pub(super) struct Holds {
    held: Arc<Held>,
    network: Option<Network>,
    bytes: usize,
}

impl Holds {
    /// Nothing yet, of a call from `network`.
    pub(super) fn none(held: &Arc<Held>, network: Option<Network>) -> Self {
        Self { held: Arc::clone(held), network, bytes: 0 }
    }

    /// Whether the call may hold so many bytes.
    pub(super) fn grow(&mut self, bytes: usize, per_address: usize, in_all: usize) -> bool {
        if bytes <= self.bytes {
            return true;
        }
        let mut held = self.held.lock();
        let before = held.addresses.get(&self.network).copied().unwrap_or(0);
        let after = before + (bytes - self.bytes);
        let shared = held.shared + after.saturating_sub(OWN) - before.saturating_sub(OWN);
        if after > per_address || shared > in_all && shared > held.shared {
            return false;
        }
        held.addresses.insert(self.network, after);
        held.shared = shared;
        self.bytes = bytes;
        true
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.held.lock();
        let before = held.addresses.get(&self.network).copied().unwrap_or(0);
        let after = before.saturating_sub(self.bytes);
        held.shared = held.shared + after.saturating_sub(OWN) - before.saturating_sub(OWN);
        if after == 0 {
            held.addresses.remove(&self.network);
        } else {
            held.addresses.insert(self.network, after);
        }
    }
}

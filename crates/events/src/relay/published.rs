//! How far a relay has come, for those who prune its source.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::Position;

/// How far a relay knows its events to be on the bus. Clones share it.
#[derive(Clone, Debug)]
pub struct Published(Arc<[AtomicI64]>);

impl Published {
    pub(super) fn new(partitions: u16) -> Self {
        Self((0..partitions).map(|_| AtomicI64::new(0)).collect())
    }

    /// The position of a partition's last event on the bus; `None` when the relay hasn't learnt of any yet.
    pub fn last(&self, partition: u16) -> Option<i64> {
        let last = self.0.get(usize::from(partition))?.load(Ordering::Relaxed);
        (last > 0).then_some(last)
    }

    pub(super) fn reached(&self, position: Position) {
        if let Some(last) = self.0.get(usize::from(position.partition)) {
            last.fetch_max(position.n, Ordering::Relaxed);
        }
    }
}

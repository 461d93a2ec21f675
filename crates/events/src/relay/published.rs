//! How far a relay has come, for those who prune its source.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::Position;

/// How far a relay knows its events to be on the bus. Clones share it.
#[derive(Clone, Debug)]
pub struct Published {
    /// The number of the source's first partition.
    first: u16,
    last: Arc<[AtomicI64]>,
}

impl Published {
    pub(super) fn over(partitions: Range<u16>) -> Self {
        Self { first: partitions.start, last: partitions.map(|_| AtomicI64::new(0)).collect() }
    }

    fn of(&self, partition: u16) -> Option<&AtomicI64> {
        self.last.get(usize::from(partition.checked_sub(self.first)?))
    }

    /// The position of a partition's last event on the bus; `None` when the relay hasn't learnt of any yet, and of a partition
    /// that isn't its source's.
    pub fn last(&self, partition: u16) -> Option<i64> {
        let last = self.of(partition)?.load(Ordering::Relaxed);
        (last > 0).then_some(last)
    }

    pub(super) fn reached(&self, position: Position) {
        if let Some(last) = self.of(position.partition) {
            last.fetch_max(position.n, Ordering::Relaxed);
        }
    }
}

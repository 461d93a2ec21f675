//! The log that publishers, readers and subscriptions share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use meshwork_eventstore::{Beats, Pulse};
use meshwork_sql::Sqlite;

use super::sweep;
use crate::bus::Lane;

/// What wakes the readers of each lane: a pulse of one partition.
pub(super) type Pulses = Arc<RwLock<HashMap<Lane, Pulse>>>;

/// The log in a file. Clones share it.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) db: Sqlite,
    pub(super) pulses: Pulses,
    /// How many publications there were in this process.
    pub(super) publications: Arc<AtomicU64>,
}

impl Log {
    /// What wakes the readers of a lane.
    pub(super) fn pulse(&self, lane: &Lane) -> Pulse {
        if let Some(pulse) = self.pulses.read().ok().and_then(|pulses| pulses.get(lane).cloned()) {
            return pulse;
        }
        match self.pulses.write() {
            Ok(mut pulses) => pulses.entry(lane.clone()).or_insert_with(|| Pulse::new(1)).clone(),
            // Nothing panics while it holds the lock; without pulses readers would still poll.
            Err(_) => Pulse::new(1),
        }
    }

    /// Hints that a lane has new events; subscribe before reading.
    pub(super) fn beats(&self, lane: &Lane) -> Beats {
        self.pulse(lane).beats(0)
    }

    /// Counts a publication; returns whether it is time to sweep.
    pub(super) fn counted(&self) -> bool {
        self.publications.fetch_add(1, Ordering::Relaxed).is_multiple_of(sweep::EVERY)
    }
}

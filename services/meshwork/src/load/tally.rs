//! What has become of the orders, counted while they are under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::story::Story;
use crate::failure::Failure;

/// How many calls of a method had which end.
pub type Ends = BTreeMap<(&'static str, &'static str), u64>;

/// What is counted. Each order is in one of `created`, `failed`, `unasked` or, while nobody knows, in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders that were due.
    pub offered: u64,
    /// Of these, those whose creation was acknowledged.
    pub created: u64,
    /// Of those created: confirmed, and not cancelled after that.
    pub confirmed: u64,
    /// Of those created: rejected.
    pub rejected: u64,
    /// Of those created: cancelled.
    pub cancelled: u64,
    /// Of those confirmed: shipped by us.
    pub shipped: u64,
    /// Of those shipped: delivered by us.
    pub delivered: u64,
    /// Orders whose creation was refused.
    pub failed: u64,
    /// Orders that were not sent, as too many were in flight.
    pub unasked: u64,
    /// Calls that repeated one whose outcome was not known.
    pub retried: u64,
    /// Orders whose creation has no answer yet.
    pub placing: usize,
    /// Orders that are placed or followed.
    pub in_flight: usize,
}

/// What is measured of a run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The counts.
    pub counts: Counts,
    /// Microseconds from when an order was due to the answer to its creation.
    pub create: Histogram<u64>,
    /// Microseconds from created to confirmed, by the times of the order's events.
    pub confirm: Histogram<u64>,
    /// The first creation of an order that was confirmed, and the last confirmation.
    pub span: Option<(SystemTime, SystemTime)>,
    /// Calls that were refused or never answered.
    pub ends: Ends,
}

/// The counts of a run, shared by its orders.
#[derive(Clone, Debug)]
pub struct Tally(Arc<Mutex<Measured>>);

impl Tally {
    /// Nothing yet.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self, Failure> {
        let histogram = || {
            Histogram::new(3)
                .map_err(|error| Failure::new(format!("nothing can be measured: {error}"), "tell the authors of it"))
        };
        let (counts, ends) = (Counts::default(), Ends::new());
        let measured = Measured { counts, create: histogram()?, confirm: histogram()?, span: None, ends };
        Ok(Self(Arc::new(Mutex::new(measured))))
    }

    fn inner(&self) -> MutexGuard<'_, Measured> {
        // Numbers are never half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts as they are.
    pub fn counts(&self) -> Counts {
        self.inner().counts
    }

    /// All as it is.
    pub fn measured(&self) -> Measured {
        self.inner().clone()
    }

    /// An order is due, and not sent.
    pub fn unasked(&self) {
        let mut inner = self.inner();
        let counts = &mut inner.counts;
        counts.offered += 1;
        counts.unasked += 1;
    }

    /// An order is due and under way, until what this gives is dropped.
    pub fn begin(&self) -> InFlight {
        let mut inner = self.inner();
        let counts = &mut inner.counts;
        counts.offered += 1;
        counts.in_flight += 1;
        counts.placing += 1;
        drop(inner);
        InFlight { tally: self.clone(), placing: true }
    }

    /// A creation was acknowledged, so long after it was due.
    pub fn created(&self, after: Duration) {
        let mut inner = self.inner();
        inner.counts.created += 1;
        // No value is out of a histogram that grows.
        inner.create.record(micros(after)).ok();
    }

    /// A creation was refused.
    pub fn failed(&self) {
        self.inner().counts.failed += 1;
    }

    /// A call is made again.
    pub fn retried(&self) {
        self.inner().counts.retried += 1;
    }

    /// A call of `method` ended in vain.
    pub fn ended(&self, method: &'static str, end: &'static str) {
        *self.inner().ends.entry((method, end)).or_default() += 1;
    }

    /// An order was shipped.
    pub fn shipped(&self) {
        self.inner().counts.shipped += 1;
    }

    /// An order was delivered.
    pub fn delivered(&self) {
        self.inner().counts.delivered += 1;
    }

    /// An order is followed no further.
    pub fn followed(&self, story: &Story) {
        let mut inner = self.inner();
        match story {
            Story { rejected: true, .. } => inner.counts.rejected += 1,
            Story { cancelled: true, .. } => inner.counts.cancelled += 1,
            Story { allocated: true, .. } => inner.counts.confirmed += 1,
            Story { .. } => {}
        }
        let (Some(created), Some(confirmed)) = (story.created, story.confirmed) else { return };
        inner.confirm.record(micros(confirmed.duration_since(created).unwrap_or_default())).ok();
        let (first, last) = inner.span.unwrap_or((created, confirmed));
        inner.span = Some((first.min(created), last.max(confirmed)));
    }
}

/// An order that is under way.
pub struct InFlight {
    tally: Tally,
    placing: bool,
}

impl InFlight {
    /// Its creation has its answer.
    pub fn placed(&mut self) {
        if std::mem::take(&mut self.placing) {
            self.tally.inner().counts.placing -= 1;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.placed();
        self.tally.inner().counts.in_flight -= 1;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

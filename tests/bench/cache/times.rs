//! How long each operation took.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use hdrhistogram::Histogram;

use crate::{Values, rounded};

/// The times of all callers of one way, in microseconds.
#[derive(Clone)]
pub(crate) struct Times(Arc<Mutex<Rounds>>);

struct Rounds {
    times: Histogram<u64>,
    /// Whether the round that doesn't count is over.
    is_warm: bool,
}

impl Times {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Rounds { times: Histogram::new(3).unwrap(), is_warm: false })))
    }

    /// A round has ended: the first one doesn't count.
    pub(crate) fn round_ended(&self) {
        let mut rounds = self.0.lock().unwrap();
        if !rounds.is_warm {
            rounds.is_warm = true;
            rounds.times.reset();
        }
    }

    /// The times of one caller, which are added when it is dropped.
    pub(crate) fn caller(&self) -> Caller {
        Caller { all: self.clone(), own: Histogram::new(3).unwrap() }
    }

    /// At a quantile, in milliseconds.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        self.0.lock().unwrap().times.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Adds the median and the 99th percentile, in milliseconds.
    pub(crate) fn add_to(&self, values: &mut Values, name: &str) {
        values.add(format!("{name}_ms_p50"), rounded(self.ms(0.5)));
        values.add(format!("{name}_ms_p99"), rounded(self.ms(0.99)));
    }
}

/// See [`Times::caller`].
pub(crate) struct Caller {
    all: Times,
    own: Histogram<u64>,
}

impl Caller {
    /// Notes an operation that began then and ends now.
    pub(crate) fn ended(&mut self, begun: Instant) {
        self.own.record(u64::try_from(begun.elapsed().as_micros()).unwrap()).unwrap();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.all.0.lock().unwrap().times.add(&self.own).unwrap();
    }
}

//! A call that a breaker let go, to its end.

use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, Breaker};
use crate::bodies::Finish;
use crate::outcome::Outcome;

/// What a call holds of its breaker, which takes the outcome at its end; dropped first, the call was cancelled.
#[derive(Debug)]
pub struct AdmittedCall {
    breaker: Breaker,
    admission: Admission,
    started: Instant,
    /// Whether the response has begun: how long its stream may last is for the caller to say.
    answered: bool,
}

impl AdmittedCall {
    /// A call that began at `started`.
    pub(super) fn new(breaker: Breaker, admission: Admission, started: Instant) -> Self {
        Self { breaker, admission, started, answered: false }
    }

    /// The response began: a probe keeps no others from probing any more.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.admission.answered();
    }

    /// How long the server was waited for, as far as that may speak against it.
    fn waited(&self, now: Instant) -> Option<Duration> {
        (!self.answered).then(|| now.saturating_duration_since(self.started))
    }
}

impl Finish for AdmittedCall {
    fn finish(self, outcome: Outcome) {
        let now = Instant::now();
        let outcome = match outcome {
            Outcome::Status(code) => Outcome::of(code, self.waited(now), None),
            outcome => outcome,
        };
        self.breaker.settle(now, self.admission, outcome);
    }
}

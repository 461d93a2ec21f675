//! What tells the throttle that a call ended well.

use std::sync::Arc;

use tonic::Code;

use super::Throttle;
use crate::outcome::{Finish, Outcome, TrackedBody};

/// A response body whose end with OK gives tokens back to the throttle.
pub type RetryBody<B> = TrackedBody<B, OnSuccess>;

/// Gives tokens back when a call ends with OK: at its trailers, since an answer that began may still fail.
#[derive(Clone, Debug, Default)]
pub struct OnSuccess(Option<Arc<Throttle>>);

impl OnSuccess {
    /// Tells `throttle`, if there is one.
    pub(super) fn new(throttle: Option<Arc<Throttle>>) -> Self {
        Self(throttle)
    }
}

impl Finish for OnSuccess {
    fn finish(self, outcome: Outcome) {
        if outcome == Outcome::Status(Code::Ok)
            && let Some(throttle) = self.0
        {
            throttle.success();
        }
    }
}

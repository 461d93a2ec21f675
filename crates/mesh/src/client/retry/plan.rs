//! What the repetition of one call needs.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::attempt::AttemptContext;
use super::{Budget, Buffers, Throttle};
use crate::client::trace::Cause;
use crate::observe::{Event, Observers, RepeatCounter};
use crate::policy::Repeat;
use crate::random::Random;

/// What the repetition of one call needs; borrowed, since a call that isn't repeated should not pay for it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// When the first attempt begins, by a clock that was just read.
    pub now: Instant,
    /// Whether and how attempts are repeated.
    pub repeat: &'a Repeat,
    /// How long one attempt may take until it is answered by headers.
    pub attempt_timeout: Option<Duration>,
    /// When the whole call is over.
    pub deadline: Option<Instant>,
    /// Whether attempts wait while no endpoint can take them.
    pub wait_for_ready: bool,
    /// The tokens of the target.
    pub throttle: Option<&'a Throttle>,
    /// The retry budget of the target.
    pub budget: Option<&'a Budget>,
    /// What the channel may keep of requests.
    pub buffers: &'a Arc<Buffers>,
    /// For jitter.
    pub random: &'a Random,
    /// Told of attempts, retries, and those that were not made.
    pub observers: &'a Observers,
    /// Counts the same, for who asks at the end of the call.
    pub repeats: Option<&'a RepeatCounter>,
    /// `/package.Service/Method`.
    pub method: &'a PathAndQuery,
}

impl Plan<'_> {
    /// What an attempt needs that begins at `now`.
    pub(super) fn context(&self, now: Instant) -> AttemptContext {
        AttemptContext {
            now,
            deadline: self.deadline,
            timeout: self.attempt_timeout,
            wait_for_ready: self.wait_for_ready,
            outrun: None,
        }
    }

    pub(super) fn started(&self, cause: Cause) {
        if let Some(repeats) = self.repeats {
            repeats.began(cause);
        }
        self.observers.event(&Event::AttemptStarted { method: self.method.as_str(), cause });
    }

    pub(super) fn scheduled(&self, cause: Cause, delay: Duration) {
        self.observers.event(&Event::RetryScheduled { method: self.method.as_str(), cause, delay });
    }

    /// No attempt was under way for so long.
    pub(super) fn paused(&self, pause: Duration) {
        if let Some(repeats) = self.repeats {
            repeats.paused(pause);
        }
    }

    pub(super) fn throttled(&self) {
        self.observers.event(&Event::RetryThrottled { method: self.method.as_str() });
    }

    /// Whether a wait from now on ends before the deadline.
    pub(super) fn has_time_for(&self, wait: Duration) -> bool {
        self.deadline.is_none_or(|deadline| Instant::now().checked_add(wait).is_some_and(|end| end < deadline))
    }

    /// Takes a retry out of the budget, if there is one.
    pub(super) fn budget_allows(&self) -> bool {
        self.budget.is_none_or(|budget| budget.retry())
    }
}

//! What the repetition of one call needs, and its driver.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::body::Body;

use super::attempt::{AttemptContext, AttemptError, Attempts};
use super::request::Repeatable;
use super::{AttemptLog, Budget, Buffers, Throttle, hedge, sequence};
use crate::client::trace::Cause;
use crate::observe::{Event, Observers};
use crate::policy::Repeat;
use crate::random::Random;

/// What the repetition of one call needs; borrowed, since a call that isn't repeated should not pay for it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
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
    /// `/package.Service/Method`.
    pub method: &'a PathAndQuery,
}

impl Plan<'_> {
    pub(super) fn context(&self, number: u32) -> AttemptContext {
        AttemptContext {
            number,
            deadline: self.deadline,
            timeout: self.attempt_timeout,
            wait_for_ready: self.wait_for_ready,
            outrun: None,
        }
    }

    pub(super) fn started(&self, cause: Cause) {
        self.observers.event(&Event::AttemptStarted { method: self.method.as_str(), cause });
    }

    pub(super) fn scheduled(&self, cause: Cause, delay: Duration) {
        self.observers.event(&Event::RetryScheduled { method: self.method.as_str(), cause, delay });
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

/// Makes the attempts of a call, one after the other or beside each other, until one is answered by headers or `plan` has
/// no more. Dropped, it cancels them.
///
/// # Errors
/// The failure of the last attempt, if it had no response; a Trailers-Only failure is a response.
pub async fn run<A: Attempts>(
    attempts: A,
    request: http::Request<Body>,
    plan: &Plan<'_>,
    log: &mut AttemptLog,
) -> Result<http::Response<A::ResponseBody>, AttemptError> {
    if let Some(budget) = plan.budget {
        budget.call();
    }
    let request = Repeatable::new(request, plan.buffers).await;
    match plan.repeat {
        Repeat::Once => sequence::run(attempts, &request, plan, None, log).await,
        Repeat::Retry(policy) => sequence::run(attempts, &request, plan, Some(policy), log).await,
        // In a box, to keep the future of all other calls small.
        Repeat::Hedge(policy) => Box::pin(hedge::run(attempts, &request, plan, policy, log)).await,
    }
}

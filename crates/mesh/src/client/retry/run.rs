//! The attempts of one call.

use super::attempt::{AttemptError, Attempts};
use super::request::Repeatable;
use super::{AttemptLog, Plan, hedge, sequence};
use crate::policy::Repeat;

/// Makes the attempts of a call, one after the other or beside each other, until one is answered by headers or `plan` has
/// no more. Dropped, it cancels them.
///
/// # Errors
/// The failure of the last attempt, if it had no response; a Trailers-Only failure is a response.
pub async fn run<A: Attempts>(
    attempts: A,
    request: &Repeatable<'_>,
    plan: &Plan<'_>,
    log: &mut AttemptLog,
) -> Result<http::Response<A::ResponseBody>, AttemptError> {
    if let Some(budget) = plan.budget {
        budget.call(plan.now);
    }
    match plan.repeat {
        Repeat::Once => sequence::run(attempts, request, plan, None, log).await,
        Repeat::Retry(policy) => sequence::run(attempts, request, plan, Some(policy), log).await,
        // In a box, to keep the future of all other calls small.
        Repeat::Hedge(policy) => Box::pin(hedge::run(attempts, request, plan, policy, log)).await,
    }
}

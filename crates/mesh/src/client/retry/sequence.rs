//! Attempts one after the other.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::attempt::{AttemptError, Attempts};
use super::backoff;
use super::request::Repeatable;
use super::verdict::{Failure, Pushback, Verdict, judge};
use super::{AttemptLog, Plan};
use crate::client::trace::Cause;
use crate::policy::RetryPolicy;

/// How far the repetition of a call has come.
#[derive(Default)]
struct Progress {
    /// Retries made; transparent ones don't count.
    retries: u32,
    /// Retries since the start or the last pushback.
    since_pushback: u32,
    transparent: u32,
    refused: bool,
}

pub(super) async fn run<A: Attempts>(
    mut attempts: A,
    request: &Repeatable<'_>,
    plan: &Plan<'_>,
    policy: Option<&RetryPolicy>,
    log: &mut AttemptLog,
) -> Result<http::Response<A::ResponseBody>, AttemptError> {
    let mut progress = Progress::default();
    let mut cause = Cause::Call;
    let mut backoff = Duration::ZERO;
    let mut now = plan.now;
    loop {
        plan.started(cause);
        let (reader, attempt) = request.attempt(progress.retries);
        let mut attempted = attempts.attempt(attempt, plan.context(now)).await;
        let verdict = judge(&attempted);
        // By reference: a response is not moved for it.
        log.add(&mut attempted, cause, backoff);
        if verdict == Verdict::Answered {
            request.commit(reader);
            return attempted.result;
        }
        // Before it is asked whether another may follow: from here on nothing is read in its name.
        request.retire(reader);
        let Some((next, delay)) = progress.next(verdict, request, plan, policy) else { return attempted.result };
        (cause, backoff) = (next, delay);
        plan.scheduled(cause, delay);
        // What failed may hold a response, and with it a stream.
        drop(attempted);
        if !delay.is_zero() {
            sleep(delay).await;
            plan.paused(delay);
        }
        now = Instant::now();
    }
}

impl Progress {
    /// Whether, why and after how long another attempt follows.
    fn next(
        &mut self,
        verdict: Verdict,
        request: &Repeatable<'_>,
        plan: &Plan<'_>,
        policy: Option<&RetryPolicy>,
    ) -> Option<(Cause, Duration)> {
        let transparent = match verdict {
            Verdict::Answered | Verdict::Last => return None,
            Verdict::NotSent => true,
            Verdict::Refused(_) => !std::mem::replace(&mut self.refused, true),
            Verdict::Failed(_) => false,
        };
        if transparent {
            let pause = backoff::pause(self.transparent);
            self.transparent += 1;
            return (!request.is_spent() && plan.has_time_for(pause)).then_some((Cause::Transparent, pause));
        }
        match verdict {
            Verdict::Refused(failure) | Verdict::Failed(failure) => {
                let delay = self.retry(failure, request, plan, policy?)?;
                Some((Cause::Retry, delay))
            }
            _ => None,
        }
    }

    fn retry(
        &mut self,
        failure: Failure,
        request: &Repeatable<'_>,
        plan: &Plan<'_>,
        policy: &RetryPolicy,
    ) -> Option<Duration> {
        if request.is_spent() {
            return None;
        }
        let throttle = plan.throttle;
        if failure.pushback == Some(Pushback::Never) {
            throttle.map(|throttle| throttle.failure());
            return None;
        }
        if !policy.retryable_status_codes.contains(failure.code) {
            return None;
        }
        // Charged although no attempt may be left.
        let allowed = throttle.is_none_or(|throttle| throttle.failure());
        if self.retries + 1 >= policy.max_attempts {
            return None;
        }
        if !request.may_repeat() {
            return None;
        }
        if !allowed {
            plan.throttled();
            return None;
        }
        let delay = match failure.pushback {
            Some(Pushback::After(ms)) => {
                self.since_pushback = 0;
                Duration::from_millis(ms.into())
            }
            _ => {
                let delay = backoff::delay(policy, self.since_pushback, plan.random);
                self.since_pushback += 1;
                delay
            }
        };
        if !plan.has_time_for(delay) {
            return None;
        }
        if !plan.budget_allows() {
            plan.throttled();
            return None;
        }
        self.retries += 1;
        Some(delay)
    }
}

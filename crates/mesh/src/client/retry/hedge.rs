//! Attempts beside each other.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Code;

use super::attempt::{AttemptContext, AttemptError, Attempted, Attempts};
use super::backoff;
use super::request::Repeatable;
use super::verdict::{Failure, Pushback, Verdict, judge};
use super::{AttemptLog, Plan};
use crate::client::trace::{AttemptTrace, Cause};
use crate::policy::HedgingPolicy;

type Answer<A> = Result<http::Response<<A as Attempts>::ResponseBody>, AttemptError>;
type Running<'a, A> = Pin<Box<dyn Future<Output = Attempted<<A as Attempts>::ResponseBody>> + Send + 'a>>;

/// An attempt under way. Dropped, it is cancelled.
struct Live<'a, A: Attempts> {
    future: Running<'a, A>,
    reader: usize,
    number: u32,
    cause: Cause,
    backoff: Duration,
    since: Instant,
    outrun: Arc<AtomicBool>,
}

/// What was waited for.
enum Step<'a, A: Attempts> {
    Ended(Box<(Live<'a, A>, Attempted<A::ResponseBody>)>),
    Committed(usize),
    Due,
}

struct Hedges<'a, A: Attempts> {
    attempts: A,
    request: &'a Repeatable<'a>,
    plan: &'a Plan<'a>,
    policy: &'a HedgingPolicy,
    live: SmallVec<[Live<'a, A>; 2]>,
    /// Attempts begun; transparent retries don't count.
    begun: u32,
    /// When the next one begins; none when there is no other.
    next: Option<Instant>,
    /// No more hedges: the server, the throttle or a limit said so.
    stopped: bool,
    transparent: u32,
    refused: bool,
}

pub(super) async fn run<A: Attempts>(
    attempts: A,
    request: &Repeatable<'_>,
    plan: &Plan<'_>,
    policy: &HedgingPolicy,
    log: &mut AttemptLog,
) -> Answer<A> {
    let mut hedges = Hedges {
        attempts,
        request,
        plan,
        policy,
        live: SmallVec::new(),
        begun: 0,
        next: None,
        stopped: false,
        transparent: 0,
        refused: false,
    };
    hedges.begin(Cause::Call);
    hedges.schedule(policy.hedging_delay);
    loop {
        match hedges.step().await {
            Step::Due => hedges.hedge(),
            Step::Committed(reader) => {
                hedges.stop();
                hedges.cancel(|live| live.reader != reader, false, log);
            }
            Step::Ended(ended) => {
                let (live, mut attempted) = *ended;
                let verdict = judge(&attempted);
                log.add(&mut attempted, live.cause, live.backoff);
                let Attempted { result, ended, .. } = attempted;
                if verdict == Verdict::Answered {
                    if request.commit(live.reader) || ended.is_some() {
                        hedges.cancel(|_| true, true, log);
                        return result;
                    }
                    // Meanwhile another has read what is too large to be kept, and is the only one that can send the rest.
                    continue;
                }
                // Others get nothing more of a request that is committed to this one.
                let committed = request.retire(live.reader);
                let over = hedges.is_over(verdict, &live);
                if over || committed {
                    hedges.cancel(|_| true, over, log);
                    return result;
                }
                // It may hold a stream.
                drop(live);
                if hedges.live.is_empty() && !hedges.has_next() {
                    return result;
                }
                if hedges.live.is_empty() {
                    // Waits for a pushback; if the hedge is disallowed then, this failure is the call's.
                    if let Some(at) = hedges.next {
                        let since = Instant::now();
                        sleep_until(at).await;
                        plan.paused(since.elapsed());
                        hedges.hedge();
                    }
                    if hedges.live.is_empty() {
                        return result;
                    }
                }
            }
        }
    }
}

impl<'a, A: Attempts + 'a> Hedges<'a, A> {
    fn begin(&mut self, cause: Cause) {
        self.begun += 1;
        let number = self.begun;
        self.plan.started(cause);
        let (reader, request) = self.request.attempt(number - 1);
        let (outrun, since) = (Arc::default(), if number == 1 { self.plan.now } else { Instant::now() });
        let context = AttemptContext { outrun: Some(Arc::clone(&outrun)), ..self.plan.context(since) };
        let future = Box::pin(self.attempts.attempt(request, context));
        self.live.push(Live { future, reader, number, cause, backoff: Duration::ZERO, since, outrun });
    }

    /// Sends the attempt again that `live` was.
    fn begin_again(&mut self, live: &Live<'a, A>, pause: Duration) {
        self.plan.scheduled(Cause::Transparent, pause);
        if self.live.is_empty() {
            self.plan.paused(pause);
        }
        self.plan.started(Cause::Transparent);
        let (reader, request) = self.request.attempt(live.number - 1);
        let (outrun, since) = (Arc::default(), Instant::now());
        let context = AttemptContext { outrun: Some(Arc::clone(&outrun)), ..self.plan.context(since) };
        let future: Running<'a, A> = if pause.is_zero() {
            Box::pin(self.attempts.attempt(request, context))
        } else {
            let mut attempts = self.attempts.clone();
            Box::pin(async move {
                sleep(pause).await;
                let attempt = attempts.attempt(request, AttemptContext { now: Instant::now(), ..context });
                attempt.await
            })
        };
        let cause = Cause::Transparent;
        self.live.push(Live { future, reader, number: live.number, cause, backoff: pause, since, outrun });
    }

    /// Plans the next hedge.
    fn schedule(&mut self, delay: Duration) {
        self.next = None;
        if self.begun < self.policy.max_attempts && self.plan.has_time_for(delay) {
            self.next = Instant::now().checked_add(delay);
        }
    }

    /// Begins the next hedge and plans the one after it, if the throttle and the budget allow it.
    fn hedge(&mut self) {
        self.next = None;
        if self.request.is_spent() || self.begun >= self.policy.max_attempts || !self.request.may_repeat() {
            return;
        }
        let allowed = self.plan.throttle.is_none_or(|throttle| throttle.allows());
        if !allowed || !self.plan.budget_allows() {
            self.plan.throttled();
            self.stop();
            return;
        }
        self.begin(Cause::Hedge);
        self.schedule(self.policy.hedging_delay);
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.next = None;
    }

    fn has_next(&self) -> bool {
        self.next.is_some() && !self.request.is_spent()
    }

    /// Whether the failure of an attempt ends the call; if not, what follows from it is done.
    fn is_over(&mut self, verdict: Verdict, live: &Live<'a, A>) -> bool {
        let failure = match verdict {
            Verdict::Answered => return true,
            // Others may still be answered, but no more are made.
            Verdict::Last => {
                self.stop();
                return false;
            }
            Verdict::NotSent => {
                let pause = backoff::pause(self.transparent);
                self.transparent += 1;
                if !self.request.is_spent() && self.plan.has_time_for(pause) {
                    self.begin_again(live, pause);
                }
                return false;
            }
            Verdict::Refused(_) if !self.refused && !self.request.is_spent() => {
                self.refused = true;
                self.begin_again(live, Duration::ZERO);
                return false;
            }
            Verdict::Refused(failure) | Verdict::Failed(failure) => failure,
        };
        self.fail(failure)
    }

    fn fail(&mut self, failure: Failure) -> bool {
        let non_fatal = self.policy.non_fatal_status_codes.contains(failure.code);
        let never = failure.pushback == Some(Pushback::Never);
        if let Some(throttle) = self.plan.throttle
            && (non_fatal || never)
        {
            throttle.failure();
        }
        if !non_fatal {
            return true;
        }
        match failure.pushback {
            Some(Pushback::Never) => self.stop(),
            // Only what is still to come is put off: after a do-not-retry there is none.
            Some(Pushback::After(ms)) if !self.stopped => self.schedule(Duration::from_millis(ms.into())),
            None if !self.stopped => self.hedge(),
            _ => {}
        }
        false
    }

    async fn step(&mut self) -> Step<'a, A> {
        let request = self.request;
        let live = &mut self.live;
        let next = self.next;
        // Whoever is answered already needs no hedge: attempts come first.
        let mut due = pin!(async move {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        });
        poll_fn(|cx| {
            if live.len() > 1
                && let Poll::Ready(reader) = request.poll_committed(cx)
            {
                return Poll::Ready(Step::Committed(reader));
            }
            for index in 0..live.len() {
                if let Poll::Ready(attempted) = live[index].future.as_mut().poll(cx) {
                    return Poll::Ready(Step::Ended(Box::new((live.remove(index), attempted))));
                }
            }
            due.as_mut().poll(cx).map(|()| Step::Due)
        })
        .await
    }

    /// Cancels attempts; `outrun` when another one was answered before them.
    fn cancel(&mut self, which: impl Fn(&Live<'a, A>) -> bool, outrun: bool, log: &mut AttemptLog) {
        self.live.retain(|live| {
            let cancelled = which(live);
            if cancelled {
                live.outrun.store(outrun, Ordering::Relaxed);
                log.push(AttemptTrace {
                    cause: live.cause,
                    backoff: live.backoff,
                    took: live.since.elapsed(),
                    code: Some(Code::Cancelled),
                    ..AttemptTrace::default()
                });
            }
            !cancelled
        });
    }
}

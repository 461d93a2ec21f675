//! One attempt over the channel, from the pick to the headers of its response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http::uri::PathAndQuery;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tonic::Code;

use super::answer::{Answer, AttemptBody, answer};
use super::guard::Guard;
use super::queued::{Dequeued, QueuedAttempt, too_late};
use super::sender::AttemptSender;
use crate::client::endpoints::Picked;
use crate::client::retry::{AttemptClock, AttemptContext, AttemptError, Attempted, Attempts, Expiry, RequestBody};
use crate::client::trace::AttemptTrace;
use crate::observe::{Event, Observers};
use crate::outcome::Outcome;
use crate::transport::Exchange;

impl<'a> Attempts for AttemptSender<'a> {
    type ResponseBody = AttemptBody;
    type Future = Attempt<'a>;

    fn attempt(&mut self, request: Request<RequestBody>, context: AttemptContext) -> Attempt<'a> {
        let mut attempt = Attempt {
            started: context.now,
            deadline: context.deadline,
            unplaced: Unplaced::new(self, context.now),
            clock: AttemptClock::new(&context),
            trace: AttemptTrace { picks: 1, ..AttemptTrace::default() },
            state: AttemptState::Failed { error: None },
            sender: *self,
        };
        if let Err(error) = attempt.begin(request, context) {
            attempt.state = AttemptState::Failed { error: Some(error) };
        }
        attempt
    }
}

/// An attempt that has no endpoint yet. Dropped, its end is reported: from then on the endpoint's guard does that.
struct Unplaced<'a> {
    observers: &'a Observers,
    method: &'a PathAndQuery,
    started: Instant,
    outcome: Outcome,
}

impl<'a> Unplaced<'a> {
    /// None when there are no observers.
    fn new(sender: &AttemptSender<'a>, started: Instant) -> Option<Self> {
        let (observers, method) = (&sender.active.settings.observers, sender.method);
        observers.is_some().then(|| Self { observers, method, started, outcome: Outcome::Cancelled })
    }

    fn ended(mut self, code: Code) {
        self.outcome = Outcome::Status(code);
    }

    /// An endpoint took it.
    fn placed(this: &mut Option<Self>) {
        std::mem::forget(this.take());
    }
}

impl Drop for Unplaced<'_> {
    fn drop(&mut self) {
        let (method, outcome, took) = (self.method.path(), self.outcome, self.started.elapsed());
        self.observers.event(&Event::AttemptEnded {
            method,
            endpoint: None,
            outcome,
            code: outcome.code(),
            took,
            queued: Duration::ZERO,
            sent: 0,
            received: 0,
        });
    }
}

pin_project! {
    /// The future of one attempt.
    pub(crate) struct Attempt<'a> {
        sender: AttemptSender<'a>,
        started: Instant,
        deadline: Option<Instant>,
        unplaced: Option<Unplaced<'a>>,
        trace: AttemptTrace,
        #[pin]
        state: AttemptState<'a>,
        #[pin]
        clock: AttemptClock,
    }
}

pin_project! {
    #[project = AttemptStateProjection]
    enum AttemptState<'a> {
        /// Waits for an endpoint, or a stream of one.
        Queued { queue: Pin<Box<dyn Future<Output = Dequeued> + Send + 'a>> },
        /// Waits for headers.
        Sent { exchange: Exchange<RequestBody>, guard: Option<Guard>, placed: Instant },
        /// Will say why it failed.
        Failed { error: Option<AttemptError> },
    }
}

impl AttemptState<'_> {
    /// An endpoint took the attempt, whose name goes into `endpoint` if sending it failed; else its guard has it.
    fn sent(
        exchange: Result<Exchange<RequestBody>, AttemptError>,
        mut guard: Guard,
        endpoint: &mut Option<Arc<str>>,
    ) -> Self {
        let placed = guard.placed();
        match exchange {
            Ok(exchange) => Self::Sent { exchange, guard: Some(guard), placed },
            Err(error) => {
                guard.status(error.status.code());
                guard.unsent(placed);
                *endpoint = Some(Arc::clone(guard.endpoint()));
                Self::Failed { error: Some(error) }
            }
        }
    }
}

impl<'a> Attempt<'a> {
    /// Sends the request if an endpoint can take it, or has it wait.
    fn begin(&mut self, mut request: Request<RequestBody>, context: AttemptContext) -> Result<(), AttemptError> {
        let (sender, now) = (self.sender, self.started);
        if context.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Expiry::Deadline.into());
        }
        // Who comes while others wait for a place waits behind them.
        let (permit, picked) = if sender.state.queue.is_empty() {
            (sender.permit()?, sender.pick(request.headers(), now))
        } else {
            (None, Picked::Wait)
        };
        // In its place at once: the state is large.
        self.state = match picked {
            Picked::Endpoint(feedback, admission, slot) => {
                let guard = sender.guard(feedback, admission, permit, &context, (now, Duration::ZERO));
                Unplaced::placed(&mut self.unplaced);
                guard.count(request.body_mut());
                let exchange = sender.send(slot, request, context.deadline, now);
                AttemptState::sent(exchange, guard, &mut self.trace.endpoint)
            }
            Picked::Fail(message) if !context.wait_for_ready => return Err(AttemptError::unavailable(&message)),
            Picked::Fail(_) | Picked::Wait => {
                // While it waits it is not in flight.
                drop(permit);
                let waiting = QueuedAttempt::join(sender, request, context)?;
                AttemptState::Queued { queue: Box::pin(waiting.sent()) }
            }
        };
        Ok(())
    }
}

impl Future for Attempt<'_> {
    type Output = Attempted<AttemptBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (result, ended, now) = loop {
            match this.state.as_mut().project() {
                AttemptStateProjection::Queued { queue } => {
                    let polled = queue.as_mut().poll(cx);
                    if polled.is_pending() {
                        // While it is queued, only its deadline ends it.
                        ready!(this.clock.as_mut().poll(cx, None));
                    }
                    let now = Instant::now();
                    this.trace.queued = now.saturating_duration_since(*this.started);
                    let Poll::Ready(Dequeued { result, picks }) = polled else {
                        break (Err(too_late(this.sender.state, this.trace.queued)), None, now);
                    };
                    this.trace.picks = picks;
                    match result {
                        Ok((exchange, guard)) => {
                            Unplaced::placed(this.unplaced);
                            this.state.set(AttemptState::sent(exchange, guard, &mut this.trace.endpoint));
                        }
                        Err(error) => break (Err(error), None, now),
                    }
                }
                AttemptStateProjection::Failed { error } => {
                    break (Err(error.take().unwrap_or_else(polled_again)), None, Instant::now());
                }
                AttemptStateProjection::Sent { exchange, guard, placed } => {
                    let polled = Pin::new(&mut *exchange).poll(cx);
                    let since = exchange.server_since(*placed);
                    let exchanged = match polled {
                        Poll::Ready(response) => Ok(response),
                        Poll::Pending => Err(ready!(this.clock.as_mut().poll(cx, since))),
                    };
                    let now = Instant::now();
                    let Some(mut guard) = guard.take() else { break (Err(polled_again()), None, now) };
                    guard.server_since(since);
                    let Answer { result, ended, endpoint } = match exchanged {
                        Ok(response) => answer(response, guard, *this.deadline, now),
                        Err(expiry) => {
                            let outcome = match expiry {
                                Expiry::Timeout(_) => Outcome::TimedOut,
                                Expiry::Deadline => guard.outcome(Code::DeadlineExceeded, now),
                            };
                            guard.finish(now, outcome);
                            Answer::failed(expiry.into(), &guard)
                        }
                    };
                    this.trace.endpoint = endpoint;
                    break (result, ended, now);
                }
            }
        };
        let mut trace = std::mem::take(this.trace);
        trace.took = now.saturating_duration_since(*this.started);
        if let Err(error) = &result {
            trace.code = Some(error.status.code());
            trace.message = Some(error.status.message().into());
            if let Some(unplaced) = this.unplaced.take() {
                unplaced.ended(error.status.code());
            }
        }
        Poll::Ready(Attempted { result, ended, trace })
    }
}

fn polled_again() -> AttemptError {
    AttemptError::unavailable("the attempt was polled after its end")
}

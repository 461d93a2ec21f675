//! One attempt over the channel: pick, send, await the headers; to the end of the response its outcome is watched.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::{Parts, PathAndQuery};
use http::{HeaderMap, Request, Uri};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use super::body::{AttemptBody, Guard};
use crate::breaker::Admission;
use crate::client::balance::PickArgs;
use crate::client::endpoints::{ActivePolicy, ChannelState, Member, Picked, TriedEndpoints};
use crate::client::retry::{AttemptContext, AttemptError, Attempted, Attempts, RequestBody};
use crate::client::trace::AttemptTrace;
use crate::deadline::{self, GRPC_TIMEOUT};
use crate::limit::Permit;
use crate::observe::{Event, Observers};
use crate::outcome::{Outcome, grpc_status};
use crate::transport::{Exchange, ExchangeError, Fate, StreamSlot, status_of_response};

/// Carries out the attempts of one call.
#[derive(Clone, Copy)]
pub(crate) struct AttemptSender<'a> {
    pub shared: &'a ChannelState,
    pub active: &'a ActivePolicy,
    pub method: &'a PathAndQuery,
    /// The timeout that the request's metadata already holds.
    pub timeout: Option<Duration>,
    /// What the attempts before went to.
    pub tried: TriedEndpoints,
}

impl<'a> Attempts for AttemptSender<'a> {
    type ResponseBody = AttemptBody;
    type Future = Attempt<'a>;

    fn attempt(&mut self, request: Request<RequestBody>, context: AttemptContext) -> Attempt<'a> {
        let started = Instant::now();
        let overdue = context.deadline.is_some_and(|deadline| deadline <= started);
        let mut attempt = Attempt {
            started,
            placed: started,
            unplaced: self.unplaced(started),
            context: context.clone(),
            trace: AttemptTrace { picks: 1, ..AttemptTrace::default() },
            state: State::Failed { error: None },
            sleep: None,
        };
        if overdue {
            attempt.state = State::Failed { error: Some(deadline_exceeded()) };
            return attempt;
        }
        let Some(permit) = self.active.concurrency.try_acquire() else {
            let message = format!(
                "there are {} calls in flight to {}, as many as maxConcurrentRequests allows",
                self.active.concurrency.limit(),
                self.shared.fixed.target
            );
            let error = AttemptError { status: Status::unavailable(message), fate: Fate::Sent, last: true };
            attempt.state = State::Failed { error: Some(error) };
            return attempt;
        };
        let call = PickArgs { method: self.method.path(), headers: request.headers(), now: started };
        // Who comes while others wait for a place waits behind them.
        let picked = match self.shared.queue.is_empty() {
            true => self.shared.snapshot.load().pick(&call, &self.tried),
            false => Picked::Wait,
        };
        attempt.state = match picked {
            Picked::Member(member, admission, slot) => {
                self.tried.add(&member);
                let guard = Guard::new(self, member, admission, permit, &context, (started, Duration::ZERO));
                attempt.trace.endpoint = Some(guard.endpoint());
                Unplaced::placed(&mut attempt.unplaced);
                State::sent(self.send(slot, request, context.deadline, started), guard)
            }
            Picked::Fail(message) if !context.wait_for_ready => State::Failed { error: Some(unavailable(&message)) },
            Picked::Fail(_) | Picked::Wait => {
                let waiting = Waiting { sender: *self, request, permit, context, started };
                State::Queued { queue: Box::pin(waiting.queue()) }
            }
        };
        attempt
    }
}

impl<'a> AttemptSender<'a> {
    /// What tells of the end of an attempt that no endpoint took, if anybody is told.
    fn unplaced(&self, started: Instant) -> Option<Unplaced<'a>> {
        let observers = &self.active.fixed.observers;
        observers.is_some().then(|| Unplaced { observers, method: self.method, started, outcome: Outcome::Cancelled })
    }

    /// Gives the request to the connection, with what is left of the deadline in its metadata.
    fn send(
        &self,
        slot: StreamSlot,
        request: Request<RequestBody>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Exchange<RequestBody>, AttemptError> {
        let (mut head, body) = request.into_parts();
        let left = deadline.map(|deadline| rounded(deadline.saturating_duration_since(now)));
        if let Some(left) = left.filter(|_| left != self.timeout) {
            head.headers.insert(&GRPC_TIMEOUT, deadline::encode_timeout(left));
        }
        let mut uri = Parts::default();
        uri.scheme = Some(self.shared.scheme.clone());
        uri.authority = Some(self.shared.authority.clone());
        uri.path_and_query = Some(self.method.clone());
        head.uri = Uri::from_parts(uri).unwrap_or_default();
        head.version = http::Version::HTTP_2;
        slot.send(Request::from_parts(head, ()), body).map_err(|error| {
            let (fate, last) = (error.fate(), error.is_local());
            AttemptError { status: error.into_status(), fate, last }
        })
    }
}

/// An attempt that has no endpoint yet. Dropped, its end is told: from then on the endpoint's guard does that.
struct Unplaced<'a> {
    observers: &'a Observers,
    method: &'a PathAndQuery,
    started: Instant,
    outcome: Outcome,
}

impl Unplaced<'_> {
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
        self.observers.event(&Event::AttemptEnded { method, endpoint: None, outcome, took });
    }
}

/// An attempt that no endpoint could take at once.
struct Waiting<'a> {
    sender: AttemptSender<'a>,
    request: Request<RequestBody>,
    permit: Permit,
    context: AttemptContext,
    started: Instant,
}

/// What came of waiting.
struct Queued {
    result: Result<(Result<Exchange<RequestBody>, AttemptError>, Guard), AttemptError>,
    picks: u32,
}

impl Waiting<'_> {
    async fn queue(self) -> Queued {
        let Self { sender, request, permit, context, started } = self;
        let mut picks = 1;
        // Bounded by the deadline, if there is one, which whoever polls this keeps, and by maxConcurrentRequests: the permit
        // is held while waiting.
        let place = wait(&sender, request.headers(), context.wait_for_ready, &mut picks).await;
        let result = place.map(|(member, admission, slot)| {
            let now = Instant::now();
            let queued = now.saturating_duration_since(started);
            let guard = Guard::new(&sender, member, admission, permit, &context, (now, queued));
            (sender.send(slot, request, context.deadline, now), guard)
        });
        Queued { result, picks }
    }
}

/// Waits for a place in the order of coming, and picks when it is its turn.
async fn wait(
    sender: &AttemptSender<'_>,
    headers: &HeaderMap,
    wait_for_ready: bool,
    picks: &mut u32,
) -> Result<(Arc<Member>, Admission, StreamSlot), AttemptError> {
    let shared = sender.shared;
    let Some(mut waiter) = shared.queue.join() else {
        let message = "as many calls wait for a stream as max_queued_calls allows";
        return Err(AttemptError { status: Status::unavailable(message), fate: Fate::Sent, last: true });
    };
    poll_fn(|cx| {
        shared.wake();
        waiter.poll(cx.waker(), |turn| {
            let snapshot = shared.snapshot.load();
            if !turn {
                let failed = if wait_for_ready { None } else { snapshot.failure() };
                return failed.map(|message| Err(unavailable(&message)));
            }
            *picks += 1;
            let call = PickArgs { method: sender.method.path(), headers, now: Instant::now() };
            match snapshot.pick(&call, &sender.tried) {
                Picked::Member(member, admission, slot) => Some(Ok((member, admission, slot))),
                Picked::Fail(message) if !wait_for_ready => Some(Err(unavailable(&message))),
                Picked::Fail(_) | Picked::Wait => None,
            }
        })
    })
    .await
}

fn too_late(started: Instant) -> AttemptError {
    let waited = started.elapsed();
    let message = format!("no endpoint took the call within its deadline; it waited {waited:?}");
    AttemptError { status: Status::deadline_exceeded(message), fate: Fate::NotSent, last: true }
}

pin_project! {
    /// The future of one attempt.
    pub struct Attempt<'a> {
        started: Instant,
        unplaced: Option<Unplaced<'a>>,
        // When an endpoint took it: what was waited before is not the endpoint's doing.
        placed: Instant,
        context: AttemptContext,
        trace: AttemptTrace,
        #[pin]
        state: State<'a>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<'a> {
        /// Waits for an endpoint, or a stream of one.
        Queued { queue: Pin<Box<dyn Future<Output = Queued> + Send + 'a>> },
        /// Waits for headers.
        Sent { exchange: Exchange<RequestBody>, guard: Option<Guard> },
        /// Will say why it failed.
        Failed { error: Option<AttemptError> },
    }
}

impl State<'_> {
    fn sent(exchange: Result<Exchange<RequestBody>, AttemptError>, guard: Guard) -> Self {
        match exchange {
            Ok(exchange) => Self::Sent { exchange, guard: Some(guard) },
            Err(error) => {
                guard.unsent();
                Self::Failed { error: Some(error) }
            }
        }
    }
}

impl Future for Attempt<'_> {
    type Output = Attempted<AttemptBody>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = loop {
            match this.state.as_mut().project() {
                StateProjection::Queued { queue } => {
                    let Poll::Ready(queued) = queue.as_mut().poll(cx) else {
                        // By then at the latest it is looked again. The timer of the attempt, once it is sent, is later, and
                        // to put a timer off costs next to nothing.
                        let now = Instant::now();
                        let (limit, own) = limit(this.context, None);
                        let Some(limit) = limit else { return Poll::Pending };
                        match this.sleep.as_mut().as_pin_mut() {
                            None => this.sleep.set(Some(tokio::time::sleep_until(limit))),
                            Some(sleep) if sleep.is_elapsed() => sleep.reset(limit),
                            Some(_) => {}
                        }
                        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                            ready!(sleep.poll(cx));
                        }
                        if own || this.context.deadline.is_none_or(|deadline| now < deadline) {
                            continue;
                        }
                        this.trace.queued = this.started.elapsed();
                        this.state.set(State::Failed { error: Some(too_late(*this.started)) });
                        continue;
                    };
                    this.trace.picks = queued.picks;
                    this.trace.queued = this.started.elapsed();
                    let state = match queued.result {
                        Ok((exchange, guard)) => {
                            *this.placed = Instant::now();
                            Unplaced::placed(this.unplaced);
                            this.trace.endpoint = Some(guard.endpoint());
                            State::sent(exchange, guard)
                        }
                        Err(error) => State::Failed { error: Some(error) },
                    };
                    this.state.set(state);
                }
                StateProjection::Failed { error } => {
                    break Err(error.take().unwrap_or_else(|| unavailable("the attempt was polled after its end")));
                }
                StateProjection::Sent { exchange, guard } => {
                    let polled = Pin::new(&mut *exchange).poll(cx);
                    let since = exchange.server_since(*this.placed);
                    if let Poll::Ready(answer) = polled {
                        break match guard.take() {
                            Some(mut guard) => {
                                guard.server_since(since);
                                answered(answer, guard)
                            }
                            None => Err(unavailable("the attempt was polled after its end")),
                        };
                    }
                    let (limit, own) = limit(this.context, since);
                    let Some(limit) = limit else { return Poll::Pending };
                    match this.sleep.as_mut().as_pin_mut() {
                        None => this.sleep.set(Some(tokio::time::sleep_until(limit))),
                        // The server was not waited for all the time.
                        Some(sleep) if sleep.deadline() != limit => sleep.reset(limit),
                        Some(_) => {}
                    }
                    if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    if own && since.is_none() {
                        // The caller still has not given all of its request.
                        continue;
                    }
                    let Some(mut guard) = guard.take() else { break Err(deadline_exceeded()) };
                    guard.server_since(since);
                    break Err(if own {
                        guard.finish(Outcome::TimedOut);
                        let timeout = this.context.timeout.unwrap_or_default();
                        let status =
                            Status::unavailable(format!("no answer within the attempt's timeout of {timeout:?}"));
                        AttemptError { status, fate: Fate::Sent, last: false }
                    } else {
                        let outcome = guard.outcome(Code::DeadlineExceeded);
                        guard.finish(outcome);
                        deadline_exceeded()
                    });
                }
            }
        };
        let mut trace = std::mem::take(this.trace);
        trace.took = this.started.elapsed();
        if let Err(error) = &result {
            trace.code = Some(error.status.code());
            if let Some(unplaced) = this.unplaced.take() {
                unplaced.ended(error.status.code());
            }
            trace.message = Some(error.status.message().into());
        }
        Poll::Ready(Attempted { result, trace })
    }
}

/// When an attempt is over, and whether that is by its own timeout rather than by the deadline of the call. While the caller
/// is waited for, its own timeout is when to look again.
fn limit(context: &AttemptContext, server_since: Option<Instant>) -> (Option<Instant>, bool) {
    let own = context.timeout.and_then(|timeout| server_since.unwrap_or_else(Instant::now).checked_add(timeout));
    match (own, context.deadline) {
        (Some(own), Some(deadline)) if own < deadline => (Some(own), true),
        (Some(own), None) => (Some(own), true),
        (_, deadline) => (deadline, false),
    }
}

/// Rounds up to three digits. The client ends the call at its own deadline; what the server is told a little later need
/// not be exact, and calls with the same deadline send the same header, which HPACK makes one byte of.
pub(crate) fn rounded(left: Duration) -> Duration {
    let nanos = left.as_nanos();
    let unit = 10_u128.pow(nanos.checked_ilog10().unwrap_or(0).saturating_sub(2));
    u64::try_from(nanos.div_ceil(unit) * unit).map_or(left, Duration::from_nanos)
}

/// Makes of what the transport gave what gRPC knows.
fn answered(
    answer: Result<http::Response<crate::transport::ReceiveBody>, ExchangeError>,
    mut guard: Guard,
) -> Result<http::Response<AttemptBody>, AttemptError> {
    match answer {
        Ok(response) => {
            let (head, body) = response.into_parts();
            if let Some(status) = status_of_response(&head) {
                let code = status.code();
                // 4xx blames the request; what is worth another try is no client error here (429 is UNAVAILABLE).
                let refused = head.status.is_client_error() && code != Code::Unavailable;
                guard.finish(if refused { Outcome::Caller(code) } else { Outcome::Status(code) });
                return Err(AttemptError { status, fate: Fate::Sent, last: refused });
            }
            let ended = grpc_status(&head.headers);
            let guard = match ended {
                Some(code) => {
                    let (outcome, withheld) = (guard.outcome(code), guard.is_withheld());
                    guard.finish(outcome);
                    if outcome == Outcome::Caller(code) && withheld {
                        // It would have to wait for its caller again.
                        let status = Status::from_header_map(&head.headers);
                        let status = status.unwrap_or_else(|| Status::new(code, "the request did not come in time"));
                        return Err(AttemptError { status, fate: Fate::Sent, last: true });
                    }
                    None
                }
                None => {
                    guard.headers();
                    Some(guard)
                }
            };
            Ok(http::Response::from_parts(head, AttemptBody::new(body, guard, ended)))
        }
        Err(ExchangeError::Transport(error)) => {
            let (fate, last) = (error.fate(), error.is_local());
            match fate {
                _ if last => guard.finish(Outcome::Caller(error.code())),
                // Says nothing about how the server does its work.
                Fate::NotSent | Fate::Refused => guard.unsent(),
                Fate::Sent => guard.finish(Outcome::Status(error.code())),
            }
            Err(AttemptError { status: error.into_status(), fate, last })
        }
        Err(ExchangeError::Body(status)) => {
            guard.finish(Outcome::Caller(status.code()));
            Err(AttemptError { status, fate: Fate::Sent, last: true })
        }
    }
}

fn unavailable(message: &str) -> AttemptError {
    AttemptError { status: Status::unavailable(message), fate: Fate::Sent, last: false }
}

fn deadline_exceeded() -> AttemptError {
    let status = Status::deadline_exceeded("the deadline of the call passed before its answer");
    AttemptError { status, fate: Fate::Sent, last: true }
}

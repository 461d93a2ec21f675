//! Response bodies: of an attempt, which gives back what it holds at the end of the stream; of a call, which keeps the
//! deadline to the end.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use super::CallEnd;
use super::attempt::AttemptSender;
use crate::bodies::Lengths;
use crate::breaker::Admission;
use crate::client::endpoints::Member;
use crate::client::retry::AttemptContext;
use crate::limit::Permit;
use crate::observe::{Event, Observers};
use crate::outcome::{Outcome, grpc_status};
use crate::transport::ReceiveBody;

/// What an attempt holds on its endpoint. It is told the outcome, or dropped: then the attempt was cancelled.
pub(crate) struct Guard {
    member: Arc<Member>,
    admission: Option<Admission>,
    _permit: Permit,
    /// When an endpoint took it.
    started: Instant,
    /// Since when its server is waited for; none while the caller has not given all of the request, or nobody has asked.
    since: Option<Instant>,
    /// The `attemptTimeout`.
    patience: Option<Duration>,
    /// Set when another attempt was quicker.
    outrun: Option<Arc<AtomicBool>>,
    /// Whether the latency is recorded, or none is to be.
    timed: bool,
    observed: Option<(Observers, http::uri::PathAndQuery)>,
}

impl Guard {
    pub(crate) fn new(
        sender: &AttemptSender<'_>,
        member: Arc<Member>,
        admission: Admission,
        permit: Permit,
        context: &AttemptContext,
        (started, queued): (Instant, Duration),
    ) -> Self {
        member.load.begin();
        let observers = &sender.active.fixed.observers;
        let observed = observers.is_some().then(|| (observers.clone(), sender.method.clone()));
        observers.event(&Event::Picked { endpoint: &member.name, queued });
        let (admission, patience, outrun) = (Some(admission), context.timeout, context.outrun.clone());
        Self { member, admission, _permit: permit, started, since: None, patience, outrun, timed: false, observed }
    }

    /// Its server is waited for since then; `None`: its caller is.
    pub(crate) fn server_since(&mut self, since: Option<Instant>) {
        self.since = since;
    }

    /// Whether its caller has not given all of the request.
    pub(crate) fn is_withheld(&self) -> bool {
        self.since.is_none()
    }

    /// What an attempt that ended with `code` before the response began says.
    pub(crate) fn outcome(&self, code: Code) -> Outcome {
        let waited = self.since.map(|since| Instant::now().saturating_duration_since(since));
        Outcome::of(code, waited, self.patience)
    }

    /// The name of the endpoint.
    pub(crate) fn endpoint(&self) -> Arc<str> {
        Arc::clone(&self.member.name)
    }

    /// The response began.
    pub(crate) fn headers(&mut self) {
        let now = Instant::now();
        self.timed = true;
        if let Some(admission) = &mut self.admission {
            admission.answered();
        }
        // An answer to a request that is still on its way says nothing of how quick the server is.
        if let Some(since) = self.since {
            self.member.load.record(now, now.saturating_duration_since(since), Outcome::Status(Code::Ok));
        }
    }

    /// The request never reached the server's application: nothing to judge.
    pub(crate) fn unsent(mut self) {
        self.timed = true;
        self.settle(Outcome::Cancelled);
    }

    /// The attempt ended.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(admission) = self.admission.take() else { return };
        let now = Instant::now();
        let took = now.saturating_duration_since(self.started);
        let member = &self.member;
        let waited = self.since.filter(|_| !self.timed).map(|since| now.saturating_duration_since(since));
        if let Some(waited) = waited {
            member.load.record(now, waited, outcome);
        } else if outcome.is_failure() {
            // A failure counts as slow. How long the stream had lasted says nothing of how fast the server answers.
            member.load.record(now, Duration::ZERO, outcome);
        }
        member.load.end();
        if let Some(breaker) = &member.breaker {
            breaker.settle(now, admission, outcome);
        }
        if let Some(counter) = &member.counter {
            counter.record(outcome);
        }
        if let Some((observers, method)) = &self.observed {
            let endpoint = Some(&*member.name);
            observers.event(&Event::AttemptEnded { method: method.path(), endpoint, outcome, took });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.outrun.as_ref().is_some_and(|outrun| outrun.load(Ordering::Relaxed)) {
            self.since.get_or_insert(self.started);
        }
        self.settle(Outcome::Cancelled);
    }
}

/// The response body of one attempt.
pub struct AttemptBody {
    /// None when it was given up: dropped, it resets the stream.
    body: Option<ReceiveBody>,
    guard: Option<Guard>,
    /// How the response ended, once it has.
    ended: Option<Code>,
}

impl AttemptBody {
    /// A response that began; or, with a code, one that ended with its headers.
    pub(crate) fn new(body: ReceiveBody, guard: Option<Guard>, ended: Option<Code>) -> Self {
        Self { body: Some(body), guard, ended }
    }

    /// How the response ended, once it has.
    pub(crate) fn ended(&self) -> Option<Code> {
        self.ended
    }

    /// Ends the stream, with what the attempt came to.
    fn give_up(&mut self, outcome: Outcome) {
        self.body = None;
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(guard) = self.guard.take() {
            guard.finish(outcome);
        }
    }
}

impl Body for AttemptBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else { return Poll::Pending };
        let (frame, outcome) = match frame {
            Some(Ok(frame)) => {
                let code = frame.trailers_ref().map(|trailers| grpc_status(trailers).unwrap_or(Code::Unknown));
                // The server has answered in time: how long its stream may last was for the caller to say.
                (Some(Ok(frame)), code.map(|code| Outcome::of(code, None, None)))
            }
            Some(Err(error)) => {
                let code = error.code();
                let outcome = if error.is_local() { Outcome::Caller(code) } else { Outcome::Status(code) };
                (Some(Err(error.into_status())), Some(outcome))
            }
            None => (None, Some(Outcome::Status(Code::Unknown))),
        };
        if let Some(outcome) = outcome {
            this.ended = Some(outcome.code());
            this.settle(outcome);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // Trailers are still to come, and with them the outcome.
        self.guard.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl fmt::Debug for AttemptBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptBody")
    }
}

/// The response body of a call.
pub(crate) struct CallBody {
    body: AttemptBody,
    deadline: Option<Instant>,
    /// Made when the body first has to wait: most unary calls never do.
    sleep: Option<Pin<Box<Sleep>>>,
    lengths: Option<Lengths>,
    end: Option<CallEnd>,
}

impl CallBody {
    pub(crate) fn new(
        body: AttemptBody,
        deadline: Option<Instant>,
        lengths: Option<Lengths>,
        end: Option<CallEnd>,
    ) -> Self {
        Self { body, deadline, sleep: None, lengths, end }
    }

    /// Refuses a message that is longer than the policy allows.
    fn measure(&mut self, frame: Option<Result<Frame<Bytes>, Status>>) -> Option<Result<Frame<Bytes>, Status>> {
        if let Some(lengths) = &mut self.lengths
            && let Some(Ok(data)) = &frame
            && let Some(data) = data.data_ref()
            && let Err(status) = lengths.read(data)
        {
            self.lengths = None;
            self.body.give_up(Outcome::Caller(status.code()));
            return Some(Err(status));
        }
        frame
    }

    /// Whether a frame may still be passed on. A stream that never has to wait would outlive its deadline otherwise; the
    /// end of a response always counts.
    fn in_time(&self, frame: &Option<Result<Frame<Bytes>, Status>>) -> bool {
        let more = matches!(frame, Some(Ok(frame)) if frame.is_data());
        !more || self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        sleep.as_mut().poll(cx)
    }
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) if this.in_time(&frame) => frame,
            Poll::Pending if this.poll_deadline(cx).is_pending() => return Poll::Pending,
            Poll::Ready(_) | Poll::Pending => {
                this.deadline = None;
                this.body.give_up(Outcome::Caller(Code::DeadlineExceeded));
                let status =
                    Status::deadline_exceeded("the deadline of the call passed before the end of its response");
                Some(Err(status))
            }
        };
        let frame = this.measure(frame);
        let code = match (this.body.ended(), &frame) {
            (None, Some(Ok(_))) => return Poll::Ready(frame),
            (_, Some(Err(status))) => status.code(),
            (ended, _) => ended.unwrap_or(Code::Unknown),
        };
        let frame = match (frame, this.end.take()) {
            (Some(Err(status)), Some(end)) => Some(Err(end.fail(status))),
            (frame, Some(end)) => {
                end.finish(Outcome::Status(code));
                frame
            }
            (frame, None) => frame,
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.body.is_end_stream()
    }
}

/// How long something took, as far as it is worth telling.
pub(crate) fn since(started: Instant) -> Duration {
    Instant::now().saturating_duration_since(started)
}

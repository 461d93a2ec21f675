//! What an attempt holds on its endpoint, and what the endpoint learns of its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::Instant;
use tonic::Code;

use crate::bodies::{CountedBytes, Framing, SharedBytes};
use crate::breaker::Admission;
use crate::client::endpoints::Feedback;
use crate::client::retry::{AttemptContext, RequestBody};
use crate::limit::Permit;
use crate::observe::{Event, Observers};
use crate::outcome::Outcome;

/// What an attempt holds on its endpoint: handles for feedback, never the subchannel. Dropped before its end, the attempt was
/// cancelled.
pub(crate) struct Guard {
    feedback: Arc<Feedback>,
    /// None once it has ended.
    admission: Option<Admission>,
    _permit: Option<Permit>,
    /// When an endpoint took it.
    placed: Instant,
    /// Since when its server is waited for; none while the caller has not given all of the request, or nobody has asked.
    since: Option<Instant>,
    /// When the response began.
    answered: Option<Instant>,
    /// The `attemptTimeout`.
    patience: Option<Duration>,
    /// Set when another attempt was quicker.
    outrun: Option<Arc<AtomicBool>>,
    /// The messages of the response, as far as they are counted: one, or more than one.
    framing: Framing,
    observed: Option<Box<Observed>>,
}

/// What observers are told at the end of an attempt.
struct Observed {
    observers: Observers,
    method: PathAndQuery,
    queued: Duration,
    /// The status, where the outcome isn't to tell it.
    code: Option<Code>,
    sent: Arc<SharedBytes>,
    received: CountedBytes,
}

impl Guard {
    /// Of an attempt that an endpoint took at `placed`.
    pub(super) fn new(
        feedback: Arc<Feedback>,
        admission: Admission,
        permit: Option<Permit>,
        context: &AttemptContext,
        placed: Instant,
    ) -> Self {
        feedback.load.begin();
        Self {
            feedback,
            admission: Some(admission),
            _permit: permit,
            placed,
            since: None,
            answered: None,
            patience: context.timeout,
            outrun: context.outrun.clone(),
            framing: Framing::default(),
            observed: None,
        }
    }

    /// Reports the end of the attempt, which was `queued` for so long, to `observers` as well.
    pub(super) fn observed_by(mut self, observers: &Observers, method: &PathAndQuery, queued: Duration) -> Self {
        let (observers, method) = (observers.clone(), method.clone());
        let (sent, received) = (Arc::default(), CountedBytes::default());
        self.observed = Some(Box::new(Observed { observers, method, queued, code: None, sent, received }));
        self
    }

    /// Counts what is sent of `body`, if somebody observes the attempt.
    pub(super) fn count(&self, body: &mut RequestBody) {
        if let Some(observed) = &self.observed {
            body.count(&observed.sent);
        }
    }

    /// The name of the endpoint.
    pub(super) fn endpoint(&self) -> &Arc<str> {
        &self.feedback.name
    }

    /// When the endpoint took the attempt.
    pub(super) fn placed(&self) -> Instant {
        self.placed
    }

    /// Its server is waited for since then; `None`: its caller is.
    pub(super) fn server_since(&mut self, since: Option<Instant>) {
        self.since = since;
    }

    /// Whether its caller has not given all of the request.
    pub(super) fn is_withheld(&self) -> bool {
        self.since.is_none()
    }

    /// What an attempt that ended with `code` before the response began says.
    pub(super) fn outcome(&self, code: Code, now: Instant) -> Outcome {
        let waited = self.since.map(|since| now.saturating_duration_since(since));
        Outcome::of(code, waited, self.patience)
    }

    /// The response began.
    pub(super) fn headers(&mut self, now: Instant) {
        self.answered = Some(now);
        if let Some(admission) = &mut self.admission {
            admission.answered();
        }
    }

    /// Data of the response.
    pub(super) fn data(&mut self, data: &[u8]) {
        if let Some(observed) = &mut self.observed {
            observed.received.read(data);
        }
        if self.framing.messages() <= 1 {
            // No message is longer than that.
            let _ = self.framing.read(data, usize::MAX);
        }
    }

    /// The attempt ends with the status `code`, whatever its endpoint is judged by.
    pub(super) fn status(&mut self, code: Code) {
        if let Some(observed) = &mut self.observed {
            observed.code = Some(code);
        }
    }

    /// The request never left this process: nothing to judge.
    pub(super) fn unsent(&mut self, now: Instant) {
        self.since = None;
        if let Some(observed) = &mut self.observed {
            observed.sent = Arc::default();
        }
        self.settle(now, Outcome::Cancelled);
    }

    /// The server refused the request before its application saw it: that costs with the balancer, and says nothing of how
    /// the application does its work.
    pub(super) fn refused(&mut self, now: Instant) {
        self.since = None;
        self.feedback.load.refused(now);
        self.settle(now, Outcome::Cancelled);
    }

    /// The attempt ended. What is held is given back when the guard is dropped.
    pub(super) fn finish(&mut self, now: Instant, outcome: Outcome) {
        self.settle(now, outcome);
    }

    /// The attempt was given up, unless it has ended.
    pub(super) fn cancel(&mut self) {
        if self.admission.is_none() {
            return;
        }
        if self.outrun.as_ref().is_some_and(|outrun| outrun.load(Ordering::Relaxed)) {
            self.since.get_or_insert(self.placed);
        }
        self.settle(Instant::now(), Outcome::Cancelled);
    }

    /// How long the server was waited for, where that says how quick it is. The answer to a request that is still on its way
    /// doesn't, nor does a stream, whose server answers when it has something to say, nor a response whose caller let it go.
    fn waited(&self, now: Instant, outcome: Outcome) -> Option<Duration> {
        let until = match self.answered {
            None => now,
            Some(answered) if self.framing.messages() <= 1 && outcome != Outcome::Cancelled => answered,
            Some(_) => return None,
        };
        self.since.map(|since| until.saturating_duration_since(since))
    }

    fn settle(&mut self, now: Instant, outcome: Outcome) {
        let Some(admission) = self.admission.take() else { return };
        let feedback = &self.feedback;
        feedback.load.record(now, self.waited(now, outcome), outcome);
        feedback.load.end();
        if let Some(breaker) = &feedback.breaker {
            breaker.settle(now, admission, outcome);
        }
        if let Some(counter) = &feedback.counter {
            counter.record(outcome);
        }
        if let Some(observed) = &self.observed {
            let Observed { observers, method, queued, code, sent, received } = &**observed;
            observers.event(&Event::AttemptEnded {
                method: method.path(),
                endpoint: Some(&feedback.name),
                outcome,
                code: code.unwrap_or(outcome.code()),
                took: now.saturating_duration_since(self.placed),
                queued: *queued,
                sent: sent.get().of_messages(),
                received: received.of_messages(),
            });
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.cancel();
    }
}

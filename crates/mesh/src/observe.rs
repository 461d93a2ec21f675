//! Hooks for metrics and tests: each step of a call and each change of an endpoint.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tonic::Code;

use crate::outcome::Outcome;

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The call itself.
    #[default]
    Call,
    /// The one before failed with a code that the policy repeats.
    Retry,
    /// The ones before were slow to answer.
    Hedge,
    /// The one before never reached a server's application.
    Transparent,
}

/// What a call took beyond one attempt (gRFC A96).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Attempts that were made because the one before had failed with a code that the policy repeats.
    pub retries: u32,
    /// Attempts that were made because the one before never reached a server's application.
    pub transparent_retries: u32,
    /// Attempts that were made because the ones before were slow.
    pub hedges: u32,
    /// How long no attempt was under way, between two of them.
    pub delay: Duration,
}

/// The state of an endpoint, or of a whole channel (gRPC's connectivity states).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Connectivity {
    /// Not connected, and not about to be.
    #[default]
    Idle,
    /// A connection is being made.
    Connecting,
    /// Calls can be sent.
    Ready,
    /// The last try failed, or the endpoint says that it is not healthy.
    TransientFailure,
    /// Closed for good.
    Shutdown,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Circuit {
    /// Calls pass.
    #[default]
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass, to see whether it is well again.
    HalfOpen,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call began.
    CallStarted {
        /// `/package.Service/Method`.
        method: &'a str,
    },
    /// A call ended: at its trailers, its error, or when the caller let go.
    CallEnded {
        /// `/package.Service/Method`.
        method: &'a str,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
        /// What it took beyond one attempt.
        repeats: Repeats,
    },
    /// An attempt began.
    AttemptStarted {
        /// `/package.Service/Method`.
        method: &'a str,
        /// Why.
        cause: Cause,
    },
    /// An endpoint was picked for an attempt.
    Picked {
        /// The endpoint.
        endpoint: &'a str,
        /// How long the attempt had waited.
        queued: Duration,
    },
    /// An attempt ended.
    AttemptEnded {
        /// `/package.Service/Method`.
        method: &'a str,
        /// The endpoint that had it, if one had.
        endpoint: Option<&'a str>,
        /// How it ended, as its endpoint is judged by it: CANCELLED says nothing of the endpoint.
        outcome: Outcome,
        /// The status that it ended with.
        code: Code,
        /// How long it took since the endpoint had it, or since it began if none had.
        took: Duration,
        /// How long it had waited until the endpoint had it.
        queued: Duration,
        /// The bytes of the messages that were given to the connection: compressed if they were, and without their prefixes.
        sent: u64,
        /// The bytes of the messages that were taken from the connection, counted alike.
        received: u64,
    },
    /// Another attempt will follow.
    RetryScheduled {
        /// `/package.Service/Method`.
        method: &'a str,
        /// Why.
        cause: Cause,
        /// After how long.
        delay: Duration,
    },
    /// A retry or hedge that the policy wanted was not made, for want of tokens or budget.
    RetryThrottled {
        /// `/package.Service/Method`.
        method: &'a str,
    },
    /// The resolver gave endpoints.
    Resolved {
        /// How many.
        endpoints: usize,
    },
    /// The resolver failed.
    ResolutionFailed {
        /// Why.
        error: &'a str,
    },
    /// An endpoint changed its state.
    EndpointChanged {
        /// The endpoint.
        endpoint: &'a str,
        /// The state that it has now.
        state: Connectivity,
        /// What went wrong, if that is why.
        error: Option<&'a str>,
    },
    /// A circuit breaker changed its state.
    CircuitChanged {
        /// The endpoint.
        endpoint: &'a str,
        /// The state that it has now.
        circuit: Circuit,
    },
    /// Outlier detection ejected an endpoint, or would have.
    Ejected {
        /// The endpoint.
        endpoint: &'a str,
        /// `success_rate` or `failure_percentage`.
        method: &'static str,
        /// Why it was not carried out, if it was not: `enforcement_percentage` or `max_ejection_overflow`.
        unenforced: Option<&'static str>,
    },
    /// Outlier detection took an endpoint back.
    Unejected {
        /// The endpoint.
        endpoint: &'a str,
    },
    /// A new policy holds.
    PolicyChanged,
    /// A new policy was refused; the one before holds on.
    PolicyRefused {
        /// Why.
        error: &'a str,
    },
    /// Certificates were read again from their files.
    CertificatesReloaded,
    /// New certificates were refused; the ones before hold on.
    CertificatesRefused {
        /// Why.
        error: &'a str,
    },
}

/// Counts what a call takes beyond one attempt.
#[derive(Debug, Default)]
pub(crate) struct RepeatCounter {
    retries: AtomicU32,
    transparent_retries: AtomicU32,
    hedges: AtomicU32,
    nanos: AtomicU64,
}

impl RepeatCounter {
    /// An attempt begins.
    pub(crate) fn began(&self, cause: Cause) {
        let count = match cause {
            Cause::Call => return,
            Cause::Retry => &self.retries,
            Cause::Transparent => &self.transparent_retries,
            Cause::Hedge => &self.hedges,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// No attempt was under way for so long.
    pub(crate) fn paused(&self, pause: Duration) {
        // In 64 bits there is room for 584 years.
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// All of it.
    pub(crate) fn total(&self) -> Repeats {
        Repeats {
            retries: self.retries.load(Ordering::Relaxed),
            transparent_retries: self.transparent_retries.load(Ordering::Relaxed),
            hedges: self.hedges.load(Ordering::Relaxed),
            delay: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
        }
    }
}

/// Sees what happens. Called on the path of calls: it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// `event` has just happened.
    fn event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for F {
    fn event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// The observers of a channel; none costs a check.
#[derive(Clone, Default)]
pub struct Observers(Option<Arc<[Arc<dyn Observer>]>>);

impl Observers {
    /// One observer.
    pub fn new(observer: impl Observer) -> Self {
        let mut observers = Self::default();
        observers.add(observer);
        observers
    }

    /// One more observer. All of them see each event, in the order in which they were added.
    pub fn add(&mut self, observer: impl Observer) {
        let one: Arc<dyn Observer> = Arc::new(observer);
        let all: Arc<[Arc<dyn Observer>]> = self.iter().cloned().chain([one]).collect();
        self.0 = Some(all);
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        self.0.iter().flat_map(|observers| observers.iter())
    }

    /// Whether there is an observer.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Shows the event to each observer.
    pub(crate) fn event(&self, event: &Event<'_>) {
        if let Some(observers) = &self.0 {
            observers.iter().for_each(|observer| observer.event(event));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.iter().count())
    }
}

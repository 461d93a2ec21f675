//! What happened to a call: the endpoints it tried, its attempts and its waits.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tonic::Code;

pub use crate::observe::Cause;
use crate::outcome::CallerFault;
use crate::transport::TransportError;

/// One attempt of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptTrace {
    /// Why it was made.
    pub cause: Cause,
    /// How long was waited before it, by backoff or pushback.
    pub backoff: Duration,
    /// How often an endpoint was picked for it; more than once when what was picked could not be used.
    pub picks: u32,
    /// How long it waited for an endpoint and a stream.
    pub queued: Duration,
    /// The endpoint that it was sent to; none when it was sent to none, or was cancelled since another attempt decided the call.
    pub endpoint: Option<Arc<str>>,
    /// How long it took, waits included, until headers or failure.
    pub took: Duration,
    /// The code that it failed with; none for an answer that began, or is under way.
    pub code: Option<Code>,
    /// What was said about the failure, if it is the mesh that says it.
    pub message: Option<Arc<str>>,
}

/// A call as it happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallReport {
    /// The method, `/package.Service/Method`.
    pub method: Arc<str>,
    /// The target of the channel.
    pub target: Arc<str>,
    /// How long the call took: until its end; until its headers while its response goes on.
    pub took: Duration,
    /// How long it waited for the client's rate limit, before its first attempt.
    pub waited: Duration,
    /// How long it was allowed to take.
    pub timeout: Option<Duration>,
    /// Its attempts in the order in which they ended.
    pub attempts: SmallVec<[AttemptTrace; 1]>,
    /// What it ended with; none while it is under way.
    pub code: Option<Code>,
}

impl fmt::Display for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} took {:?}", self.method, self.target, self.took)?;
        if let Some(timeout) = self.timeout {
            write!(f, " of {timeout:?}")?;
        }
        if !self.waited.is_zero() {
            write!(f, ", waited {:?} before its first attempt", self.waited)?;
        }
        if self.attempts.is_empty() {
            f.write_str(", was never attempted")?;
        }
        for (index, attempt) in self.attempts.iter().enumerate() {
            write!(f, "; {}: {attempt}", index + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for AttemptTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Call => {}
            Cause::Retry => write!(f, "retry after {:?}, ", self.backoff)?,
            Cause::Hedge => f.write_str("hedge, ")?,
            Cause::Transparent => f.write_str("transparent retry, ")?,
        }
        match &self.endpoint {
            Some(endpoint) => f.write_str(endpoint)?,
            None => f.write_str("no endpoint")?,
        }
        if self.picks > 1 {
            write!(f, ", {} picks", self.picks)?;
        }
        if !self.queued.is_zero() {
            write!(f, ", queued {:?}", self.queued)?;
        }
        write!(f, ", {:?}", self.took)?;
        if let Some(code) = self.code {
            write!(f, ", {code:?}")?;
        }
        if let Some(message) = &self.message {
            write!(f, " ({message})")?;
        }
        Ok(())
    }
}

/// A handle that tells what happened to a call. Put one into the extensions of a request and read it after the call, or
/// while it is under way.
///
/// ```
/// use meshwork::CallTrace;
///
/// let trace = CallTrace::new();
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(trace.clone());
/// // client.get_user(request).await …
/// assert!(trace.report().attempts.is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CallTrace(Arc<Mutex<CallReport>>);

impl CallTrace {
    /// An empty trace.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happened so far.
    pub fn report(&self) -> CallReport {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what happened so far.
    pub(crate) fn set(&self, report: CallReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// What happened to a call, as the source of a status that the mesh made.
pub struct Why {
    /// The call as it happened.
    pub report: CallReport,
    /// What the last attempt failed with below gRPC, such as a broken connection.
    pub source: Option<TransportError>,
    /// Where `source` doesn't say that it was the caller's doing.
    fault: Option<CallerFault>,
}

impl Why {
    pub(crate) fn new(report: CallReport, source: Option<TransportError>, by_caller: bool) -> Self {
        let is_marked = source.as_ref().is_some_and(TransportError::is_local);
        Self { report, source, fault: (by_caller && !is_marked).then_some(CallerFault) }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

impl fmt::Debug for Why {
    /// As it is displayed: a status shows its source this way, and a line says it better than the fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

impl std::error::Error for Why {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match (&self.fault, &self.source) {
            (Some(fault), _) => Some(fault),
            (None, Some(error)) => Some(error),
            (None, None) => None,
        }
    }
}

//! What happened to the attempts of a call.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use super::attempt::Attempted;
use crate::client::trace::{AttemptTrace, Cause};

/// Takes the attempts so far.
type Sink = Box<dyn FnMut(&[AttemptTrace]) + Send>;

/// The attempts of a call in the order in which they ended.
#[derive(Default)]
pub struct AttemptLog {
    attempts: SmallVec<[AttemptTrace; 1]>,
    sink: Option<Sink>,
}

impl AttemptLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty log that gives `sink` all attempts so far whenever one more ends, for those who watch a call under way.
    pub fn with_sink(sink: impl FnMut(&[AttemptTrace]) + Send + 'static) -> Self {
        Self { attempts: SmallVec::new(), sink: Some(Box::new(sink)) }
    }

    /// Adds an attempt that ended.
    pub fn push(&mut self, attempt: AttemptTrace) {
        self.attempts.push(attempt);
        if let Some(sink) = &mut self.sink {
            sink(&self.attempts);
        }
    }

    /// Adds an attempt that ended and was made for `cause`, after `backoff`: takes its trace.
    pub(super) fn add<B>(&mut self, attempted: &mut Attempted<B>, cause: Cause, backoff: Duration) {
        let code = attempted.failed_with();
        let trace = std::mem::take(&mut attempted.trace);
        self.push(AttemptTrace { cause, backoff, code, ..trace });
    }

    /// The attempts that ended so far.
    pub fn attempts(&self) -> &[AttemptTrace] {
        &self.attempts
    }
}

impl fmt::Debug for AttemptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttemptLog").field(&self.attempts).finish()
    }
}

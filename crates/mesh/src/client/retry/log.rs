//! What happened to the attempts of a call.

use std::fmt;

use smallvec::SmallVec;

use crate::client::trace::AttemptTrace;

/// Who is told of the attempts so far.
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

    /// An empty log that tells `sink` all attempts so far whenever one more ends, for those who watch a call under way.
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

    /// The attempts that ended so far.
    pub fn attempts(&self) -> &[AttemptTrace] {
        &self.attempts
    }

    /// The attempts, as [`CallReport`](crate::client::trace::CallReport) has them.
    pub fn into_attempts(self) -> SmallVec<[AttemptTrace; 1]> {
        self.attempts
    }
}

impl fmt::Debug for AttemptLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttemptLog").field(&self.attempts).finish()
    }
}

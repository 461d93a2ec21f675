//! The token at hand, and how it is fetched and replaced.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};

use super::source::{Token, TokenSource};
use crate::attempts::Attempts;

/// How long before its end a token is replaced, at most; one that lives shortly, after three quarters of its life.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a fetch may take, unless it is set.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a fetch's outcome stands whatever comes: a failure is not tried again before, and a new token that peers refuse
/// is not replaced by another, which they would refuse as well.
const SETTLED: Duration = Duration::from_secs(1);
/// The longest life of a token that is believed, which keeps its end in the clock's range.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A client's tokens, from one [`TokenSource`]. Cheap to clone; clones share the token.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    source: Box<dyn TokenSource>,
    timeout: Duration,
    failure: Failure,
    current: Mutex<Option<Current>>,
    fetches: Attempts<Outcome>,
}

/// Makes the status of a call that gets no token, from what went wrong.
type Failure = Box<dyn Fn(&str) -> Status + Send + Sync>;

/// The token at hand.
#[derive(Clone)]
struct Current {
    header: HeaderValue,
    fetched: Instant,
    /// From when on another is fetched.
    renewal: Instant,
    ends: Instant,
}

/// What a fetch has come to.
#[derive(Clone)]
struct Outcome {
    header: Result<HeaderValue, String>,
    at: Instant,
}

impl Credentials {
    /// The tokens of `source`, with all settings at their defaults.
    pub fn new(source: impl TokenSource) -> Self {
        Self::builder(source).build()
    }

    /// The settings for the tokens of `source`.
    ///
    /// ```
    /// use meshwork::credentials::{Credentials, TokenSource};
    /// use tonic::Status;
    ///
    /// fn credentials(source: impl TokenSource) -> Credentials {
    ///     let failure = |problem: &str| Status::unavailable(format!("can't sign in: {problem}"));
    ///     Credentials::builder(source).failure(failure).build()
    /// }
    /// ```
    pub fn builder(source: impl TokenSource) -> CredentialsBuilder {
        CredentialsBuilder {
            source: Box::new(source),
            timeout: TIMEOUT,
            failure: Box::new(|problem: &str| Status::unavailable(problem.to_owned())),
        }
    }

    /// The value of `authorization` for a call. One call fetches it for all, and all share what comes of it.
    pub(super) async fn header(&self) -> Result<HeaderValue, Status> {
        let now = Instant::now();
        let current = self.0.current().as_ref().filter(|current| now < current.ends).cloned();
        if let Some(current) = &current
            && now < current.renewal
        {
            return Ok(current.header.clone());
        }
        let holds = |last: &Outcome| now.saturating_duration_since(last.at) < SETTLED;
        let outcome = self.0.fetches.outcome(holds, || Arc::clone(&self.0).fetch());
        if let Some(current) = current {
            // The fetch goes on by itself, beside the calls that the old token is still good for.
            let renewed = outcome.now_or_never().and_then(|outcome| outcome.header.ok());
            return Ok(renewed.unwrap_or(current.header));
        }
        outcome.await.header.map_err(|problem| (self.0.failure)(&problem))
    }

    /// Forgets the token that was `sent` if the answer says that the peer doesn't accept it.
    pub(super) fn heed(&self, sent: &HeaderValue, answer: &HeaderMap) {
        let code = answer.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
        if code == Some(Code::Unauthenticated) {
            let mut current = self.0.current();
            if current.as_ref().is_some_and(|it| it.header == *sent && it.fetched.elapsed() >= SETTLED) {
                *current = None;
            }
        }
    }
}

impl Inner {
    async fn fetch(self: Arc<Self>) -> Outcome {
        // A source that panics must not take with it all who wait.
        let fetched = AssertUnwindSafe(async { timeout(self.timeout, self.source.token()).await }).catch_unwind().await;
        let at = Instant::now();
        let header = match fetched {
            Ok(Ok(Ok(token))) => Ok(self.take(token, at)),
            Ok(Ok(Err(problem))) => Err(problem),
            Ok(Err(_)) => Err(format!("no token came within {} s", self.timeout.as_secs_f64())),
            Err(_) => Err("the source of the tokens has panicked".to_owned()),
        };
        if let Err(problem) = &header {
            if self.current().as_ref().is_some_and(|current| at < current.ends) {
                tracing::warn!(problem, "the token of calls can't be replaced; the one at hand stays until its end");
            } else {
                // The calls say so.
                tracing::debug!(problem, "no token for calls can be fetched");
            }
        }
        Outcome { header, at }
    }

    fn take(&self, token: Token, at: Instant) -> HeaderValue {
        let Token { header, lives } = token;
        let lives = lives.min(LONGEST);
        let renewal = at + lives.saturating_sub(MARGIN.min(lives / 4));
        *self.current() = Some(Current { header: header.clone(), fetched: at, renewal, ends: at + lives });
        header
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        // What is behind the lock is replaced whole, so that a panic leaves nothing half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("timeout", &self.0.timeout).finish_non_exhaustive()
    }
}

/// The settings of [`Credentials`].
#[must_use = "a builder does nothing until it is built"]
pub struct CredentialsBuilder {
    source: Box<dyn TokenSource>,
    timeout: Duration,
    failure: Failure,
}

impl CredentialsBuilder {
    /// How long a fetch may take. 5 s unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What calls are answered with that get no token, from the sentence about what went wrong. UNAVAILABLE with that
    /// sentence unless set.
    pub fn failure(mut self, failure: impl Fn(&str) -> Status + Send + Sync + 'static) -> Self {
        self.failure = Box::new(failure);
        self
    }

    /// The credentials. Nothing is fetched before the first call.
    pub fn build(self) -> Credentials {
        let Self { source, timeout, failure } = self;
        Credentials(Arc::new(Inner {
            source,
            timeout,
            failure,
            current: Mutex::default(),
            fetches: Attempts::default(),
        }))
    }
}

impl fmt::Debug for CredentialsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsBuilder").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! When to resolve: at first, when an answer is too old, when something failed, when the resolver announces a change.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Resolution, ResolveError, Resolver};
use crate::client::backoff::Backoff;
use crate::random::Random;

/// How often failures may lead to a resolution at most.
const REFRESH: Duration = Duration::from_secs(30);

/// The longest that one resolution may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The shortest time for which an answer is good, and the shortest between two resolutions because of changes: a resolver
/// that says 0, or that announces changes without end, does not keep a core busy.
const TTL_FLOOR: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(100);

/// Runs a resolver for a channel.
///
/// It asks at first, when a TTL is over (1 s at least), when the resolver announces a change (ten times a second at most),
/// and when [`Refresher::refresh`] was called (every 30 s at most). Failures are followed by backoff.
pub struct Refresher {
    resolver: Arc<dyn Resolver>,
    random: Random,
    backoff: Backoff,
    /// Failures in a row.
    failures: u32,
    /// When the last resolution began.
    last: Option<Instant>,
    /// When the next one is due by itself.
    due: Option<Instant>,
    /// Whether something failed since the last one began.
    requested: bool,
    /// Whether the resolver announced a change since the last one began.
    stale: bool,
    answer: Option<Resolution>,
    work: Option<BoxFuture<'static, Result<Resolution, ResolveError>>>,
    change: Option<BoxFuture<'static, ()>>,
}

impl Refresher {
    /// Resolves at the first [`Refresher::next`].
    pub fn new(resolver: Arc<dyn Resolver>, backoff: Backoff, random: Random) -> Self {
        Self {
            resolver,
            random,
            backoff,
            failures: 0,
            last: None,
            due: None,
            requested: false,
            stale: false,
            answer: None,
            work: None,
            change: None,
        }
    }

    /// Begins anew: the next resolution is at once, and its answer is reported.
    pub fn restart(&mut self) {
        (self.failures, self.last, self.due) = (0, None, None);
        (self.requested, self.stale) = (false, false);
        (self.answer, self.work, self.change) = (None, None, None);
    }

    /// Something failed that a new resolution may mend. At most one resolution in 30 s follows from it, and
    /// this one follows then.
    pub fn refresh(&mut self) {
        self.requested = true;
    }

    /// The last answer can't be used. It counts as something that failed, and the next one is reported though it be the same.
    pub fn reject(&mut self) {
        self.answer = None;
        self.refresh();
    }

    /// Waits for the next answer that differs from the last in more than its TTL, or a failure; the first answer after a
    /// failure is reported too. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the resolver fails, or takes longer than 20 s. The next try follows with backoff.
    pub async fn next(&mut self) -> Result<Resolution, ResolveError> {
        loop {
            if self.work.is_none() {
                self.wait().await;
                self.begin();
            }
            let result = self.outcome().await;
            self.work = None;
            let now = Instant::now();
            match result {
                Ok(resolution) => {
                    let recovered = std::mem::take(&mut self.failures) > 0;
                    self.due = resolution.ttl.and_then(|ttl| now.checked_add(ttl.max(TTL_FLOOR)));
                    if recovered || !self.answer.as_ref().is_some_and(|answer| same(answer, &resolution)) {
                        self.answer = Some(resolution.clone());
                        return Ok(resolution);
                    }
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    self.due = now.checked_add(self.backoff.wait(self.failures, &self.random));
                    return Err(error);
                }
            }
        }
    }

    fn begin(&mut self) {
        self.last = Some(Instant::now());
        (self.requested, self.stale) = (false, false);
        let resolver = Arc::clone(&self.resolver);
        let watched = Arc::clone(&resolver);
        self.change = Some(Box::pin(async move { watched.changed().await }));
        self.work = Some(Box::pin(async move {
            let too_long = |_| ResolveError::new(format!("no answer within {LIMIT:?}"));
            timeout(LIMIT, resolver.resolve()).await.map_err(too_long)?
        }));
    }

    /// What the resolution that is under way comes to.
    async fn outcome(&mut self) -> Result<Resolution, ResolveError> {
        loop {
            let Some(work) = &mut self.work else { return std::future::pending().await };
            tokio::select! {
                // Listened for before the question is asked, so that no change in between is missed.
                biased;
                () = announced(&mut self.change) => self.stale = true,
                result = work => return result,
            }
        }
    }

    /// Waits until a resolution is due.
    async fn wait(&mut self) {
        loop {
            let Some(last) = self.last else { return };
            let stale = self.stale.then(|| last + SETTLE);
            // While the resolver fails, its backoff decides, unless there is news.
            let requested = (self.requested && self.failures == 0).then(|| last + REFRESH);
            let at = self.due.into_iter().chain(requested).chain(stale).min();
            let timer = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => return,
                () = announced(&mut self.change) => self.stale = true,
            }
        }
    }
}

/// Waits for news of a change, once.
async fn announced(change: &mut Option<BoxFuture<'static, ()>>) {
    match change {
        Some(news) => news.await,
        None => std::future::pending().await,
    }
    *change = None;
}

/// Whether two answers lead to the same calls. How long they are good does not matter: a DNS cache counts it down.
fn same(one: &Resolution, other: &Resolution) -> bool {
    one.endpoints == other.endpoints && one.service_config == other.service_config
}

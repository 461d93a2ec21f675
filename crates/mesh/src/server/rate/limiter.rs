//! A rate limiter: where its buckets are, and what it does when they are out of reach.

use std::fmt;
use std::sync::Arc;

use super::decision::{Decision, Decisions, EventualDecision, Source};
use super::key::{BucketName, CallParts};
use super::local::{By, Local, Want, Wants};
#[cfg(feature = "redis")]
use super::redis::Redis;
use super::rule::Rule;

/// So many buckets are kept in the process by default: some 20 MB at most.
const MAX_KEYS: usize = 100_000;

/// The buckets of rules. Clones share them, and rules of one name, rate and key share a bucket.
///
/// ```
/// use meshwork::server::rate::{Rate, RateLimiter, Rule};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = RateLimiter::in_process();
/// let rule = Rule::new("calls", Rate::per_second(1, 0.1)?);
/// assert!(limiter.decide(&rule, "anna").await.is_admitted());
/// assert!(!limiter.decide(&rule, "anna").await.is_admitted());
/// assert!(limiter.decide(&rule, "bert").await.is_admitted());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

struct Inner {
    namespace: Arc<str>,
    instances: u32,
    store: Store,
    decisions: Decisions,
}

enum Store {
    Local(Local),
    #[cfg(feature = "redis")]
    Redis(Arc<Redis>),
}

impl RateLimiter {
    /// Buckets in this process alone.
    pub fn in_process() -> Self {
        Self::builder().in_process()
    }

    /// A limiter with settings of its own.
    pub fn builder() -> RateLimiterBuilder {
        RateLimiterBuilder::default()
    }

    /// Takes a token of `rule` for `key`, as a call would: to limit what is no call, or by what no [`Key`](super::Key)
    /// names. The methods of the rule don't matter here.
    pub async fn decide(&self, rule: &Rule, key: &str) -> Decision {
        let name = BucketName::of(&self.0.namespace, &rule.id, "own:", key);
        let mut wants = Wants::new();
        wants.push(self.want(0, rule, name));
        match self.ask(&wants) {
            EventualDecision::Now(decision) => decision,
            EventualDecision::Later(decision) => decision.await,
        }
    }

    /// Gives the token back that [`decide`](Self::decide) took of `rule` for `key`, for what turned out not to count: so
    /// attempts are refused before anything is done for them, and only those count that fail. A bucket in Redis that is out
    /// of reach gets nothing back, but isn't charged later with what was taken here in its place and given back.
    ///
    /// ```
    /// use meshwork::server::rate::{Rate, RateLimiter, Rule};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (limiter, guesses) = (RateLimiter::in_process(), Rule::new("guesses", Rate::per_second(1, 0.1)?));
    /// assert!(limiter.decide(&guesses, "anna").await.is_admitted());
    /// limiter.give_back(&guesses, "anna").await;
    /// assert!(limiter.decide(&guesses, "anna").await.is_admitted());
    /// # Ok(()) }
    /// ```
    pub async fn give_back(&self, rule: &Rule, key: &str) {
        let want = self.want(0, rule, BucketName::of(&self.0.namespace, &rule.id, "own:", key));
        match &self.0.store {
            Store::Local(local) => local.give_back(&want),
            #[cfg(feature = "redis")]
            Store::Redis(redis) => redis.give_back(&want).await,
        }
    }

    /// How many decisions were made, by source.
    pub fn decisions(&self) -> &Decisions {
        &self.0.decisions
    }

    /// How many buckets are kept in this process: full ones are not.
    pub fn keys(&self) -> usize {
        match &self.0.store {
            Store::Local(local) => local.keys(),
            #[cfg(feature = "redis")]
            Store::Redis(redis) => redis.keys(),
        }
    }

    /// How many instances share the buckets.
    pub(super) fn instances(&self) -> u32 {
        self.0.instances
    }

    /// What a call wants of the bucket of a rule.
    pub(super) fn want_of_call(&self, place: usize, rule: &Rule, call: &CallParts<'_>) -> Want {
        self.want(place, rule, BucketName::of_call(&self.0.namespace, &rule.id, &rule.key, call))
    }

    fn want(&self, place: usize, rule: &Rule, name: BucketName) -> Want {
        Want { rule: place, name, rate: rule.rate, instances: self.0.instances, on_failure: rule.on_failure }
    }

    /// Takes a token for each, or none.
    pub(super) fn ask(&self, wants: &Wants) -> EventualDecision {
        match &self.0.store {
            Store::Local(local) => {
                let decision = local.take(wants);
                self.0.decisions.count(Source::Local, decision);
                EventualDecision::Now(decision)
            }
            #[cfg(feature = "redis")]
            Store::Redis(redis) => redis.ask(wants, &self.0.decisions),
        }
    }

    /// The denial that [`ask`](Self::ask) would end with now, as far as this process knows. It counts as a decision, and takes
    /// nothing.
    pub(super) fn denial(&self, wants: &Wants) -> Option<Decision> {
        let (source, denied) = match &self.0.store {
            Store::Local(local) => (Source::Local, local.peek(wants)?),
            #[cfg(feature = "redis")]
            Store::Redis(redis) => redis.denial(wants)?,
        };
        self.0.decisions.count(source, denied);
        Some(denied)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { namespace, instances, decisions, .. } = &*self.0;
        f.debug_struct("RateLimiter")
            .field("namespace", namespace)
            .field("instances", instances)
            .field("decisions", decisions)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`RateLimiter`].
pub struct RateLimiterBuilder {
    namespace: Arc<str>,
    max_keys: usize,
    instances: u32,
    hook: Option<Box<dyn Fn(Source, Decision) + Send + Sync>>,
}

impl Default for RateLimiterBuilder {
    fn default() -> Self {
        Self { namespace: "meshwork".into(), max_keys: MAX_KEYS, instances: 1, hook: None }
    }
}

impl RateLimiterBuilder {
    /// Whose buckets these are, where several share a Redis: the name of the service. Default: `meshwork`.
    ///
    /// ```
    /// # use meshwork::server::rate::RateLimiter;
    /// let limiter = RateLimiter::builder().namespace("gateway").in_process();
    /// ```
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// About so many buckets are kept in the process; above it those are forgotten that would be full soonest. Default:
    /// 100,000.
    ///
    /// ```
    /// # use meshwork::server::rate::RateLimiter;
    /// let limiter = RateLimiter::builder().max_keys(10_000).in_process();
    /// ```
    #[must_use]
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// How many instances of the service share the buckets: each takes its part of the limit while they are out of reach
    /// ([`OnFailure::OpenLocal`](super::OnFailure::OpenLocal)). Default: 1.
    ///
    /// ```
    /// # use meshwork::server::rate::RateLimiter;
    /// let builder = RateLimiter::builder().instances(3);
    /// ```
    #[must_use]
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = instances.max(1);
        self
    }

    /// Has `hook` told of each decision. It must be quick and must not block.
    ///
    /// ```
    /// # use meshwork::server::rate::RateLimiter;
    /// let builder = RateLimiter::builder().on_decision(|source, decision| tracing::debug!(?source, ?decision));
    /// ```
    #[must_use]
    pub fn on_decision(mut self, hook: impl Fn(Source, Decision) + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// With buckets in this process.
    pub fn in_process(self) -> RateLimiter {
        let local = Local::new(By::Rate, self.max_keys);
        self.with(Store::Local(local))
    }

    /// With buckets in Redis, shared by all servers that use the same namespace there. The connection is made in the
    /// background and made again whenever it is lost.
    ///
    /// # Errors
    /// When the URL is none of Redis.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(feature = "redis")]
    pub fn redis(self, settings: super::RedisSettings) -> Result<RateLimiter, super::InvalidRedis> {
        let redis = Redis::connect(settings, Local::new(By::Share, self.max_keys))?;
        Ok(self.with(Store::Redis(Arc::new(redis))))
    }

    fn with(self, store: Store) -> RateLimiter {
        let Self { namespace, instances, hook, .. } = self;
        RateLimiter(Arc::new(Inner { namespace, instances, store, decisions: Decisions::new(hook) }))
    }
}

impl fmt::Debug for RateLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, max_keys, instances, .. } = self;
        f.debug_struct("RateLimiterBuilder")
            .field("namespace", namespace)
            .field("max_keys", max_keys)
            .field("instances", instances)
            .finish_non_exhaustive()
    }
}

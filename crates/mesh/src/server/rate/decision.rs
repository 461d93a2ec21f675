//! What a limiter says, by which source, and how often.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

/// What becomes of the calls of a rule while its buckets are out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Buckets in the process decide, each with this instance's share of the limit (at least a burst of 1). What they admit is
    /// taken from the shared ones when those are in reach again.
    #[default]
    OpenLocal,
    /// Calls are refused: sign-in, one-time passwords, payments.
    Closed,
    /// Calls are admitted.
    Open,
}

/// What a limiter says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may go; its tokens are taken.
    Admitted {
        /// What is left of the bucket that has the fewest tokens. `None`: it isn't known, of calls that spend tokens that were
        /// taken in advance (`RedisSettings::leases`), or while the buckets are out of reach.
        quota: Option<Quota>,
    },
    /// It may not; nothing was taken.
    Denied {
        /// The place of the rule that denies it for longest, among those that were asked.
        rule: usize,
        /// After how long there will be a token for it.
        retry_after: Duration,
    },
    /// The buckets are out of reach, and a rule fails closed.
    Unavailable {
        /// The place of the rule.
        rule: usize,
    },
}

/// What is left of a bucket after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The place of its rule, among those that were asked.
    pub rule: usize,
    /// The whole tokens that are left in it.
    pub remaining: u64,
    /// After how long it is full, if nobody takes more.
    pub reset_after: Duration,
}

impl Quota {
    /// What is left of the bucket that has fewer tokens.
    pub(super) fn fewer(self, other: Option<Self>) -> Self {
        other.filter(|other| other.remaining <= self.remaining).unwrap_or(self)
    }
}

impl Decision {
    /// Whether the call may go.
    pub fn is_admitted(self) -> bool {
        matches!(self, Self::Admitted { .. })
    }
}

/// A decision, or the wait for one.
pub(in crate::server) enum EventualDecision {
    /// It is there.
    Now(Decision),
    /// Only buckets in Redis make one wait.
    Later(BoxFuture<'static, Decision>),
}

/// Where a decision comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Buckets in the process.
    Local,
    /// Buckets in Redis.
    Redis,
    /// Tokens that were taken from Redis before, in one piece.
    Lease,
    /// A denial of Redis that holds still.
    CachedDenial,
    /// [`OnFailure`]: the buckets are out of reach.
    Fallback,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Local, Self::Redis, Self::Lease, Self::CachedDenial, Self::Fallback];

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Redis => "redis",
            Self::Lease => "lease",
            Self::CachedDenial => "cached_denial",
            Self::Fallback => "fallback",
        }
    }
}

type Hook = dyn Fn(Source, Decision) + Send + Sync;

/// Counts of decisions, by source. Clones are the same counts.
#[derive(Clone, Default)]
pub struct Decisions(Arc<Counts>);

#[derive(Default)]
struct Counts {
    admitted: [AtomicU64; Source::ALL.len()],
    refused: [AtomicU64; Source::ALL.len()],
    hook: Option<Box<Hook>>,
}

impl Decisions {
    pub(super) fn new(hook: Option<Box<Hook>>) -> Self {
        Self(Arc::new(Counts { hook, ..Counts::default() }))
    }

    /// How many calls were admitted by `source` since the start.
    pub fn admitted(&self, source: Source) -> u64 {
        self.0.admitted[source as usize].load(Ordering::Relaxed)
    }

    /// How many calls were refused by `source` since the start.
    pub fn refused(&self, source: Source) -> u64 {
        self.0.refused[source as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, source: Source, decision: Decision) {
        let counts = if decision.is_admitted() { &self.0.admitted } else { &self.0.refused };
        counts[source as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(hook) = &self.0.hook {
            hook(source, decision);
        }
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Source::ALL.map(|source| (source.as_str(), self.admitted(source), self.refused(source)));
        f.debug_tuple("Decisions").field(&counts).finish()
    }
}

//! What all callers share: what each has above its own counts here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::count::{Count, NotGrown};
use super::exceeded::Scope;
use super::limits::{CallerLimits, Limits};
use super::resource::{PerResource, Resource};

/// So many counts of what is in use there are, so that callers below their own seldom meet on one cache line.
pub(super) const STRIPES: usize = 16;

/// The limits, and what is taken of the part that callers share.
#[derive(Debug)]
pub(super) struct Pool {
    limits: Limits,
    shared: PerResource<Padded<Count>>,
    in_use: [Padded<PerResource<AtomicUsize>>; STRIPES],
    refused: PerResource<AtomicU64>,
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl Pool {
    pub fn new(limits: Limits) -> Self {
        Self { limits, shared: PerResource::default(), in_use: Default::default(), refused: PerResource::default() }
    }

    #[inline]
    pub fn limits(&self, resource: Resource) -> CallerLimits {
        self.limits.get(resource)
    }

    pub fn all_limits(&self) -> &Limits {
        &self.limits
    }

    /// Adds `more` to the `count` of a caller, which may be at most `limit`.
    ///
    /// The shared part is taken before a count grows and given back after it has shrunk: there is never less taken of
    /// it than callers have above their own.
    ///
    /// # Errors
    /// Whose limit is reached: the caller's, or that of all.
    #[inline]
    pub fn grow(&self, resource: Resource, count: &Count, more: usize, limit: usize) -> Result<(), Scope> {
        let own = self.limits(resource).own;
        let (mut reserved, mut needed) = (0, 0);
        let grown = count.grow_if(more, limit, |before, after| {
            needed = above(after, own) - above(before, own);
            let missing = needed.saturating_sub(reserved);
            let there = missing == 0 || self.grow_shared(resource, missing);
            reserved += if there { missing } else { 0 };
            there
        });
        let (unused, result) = match grown {
            Ok(()) => (reserved - needed, Ok(())),
            Err(NotGrown::Limit) => (reserved, Err(Scope::Caller)),
            Err(NotGrown::Disagreed) => (reserved, Err(Scope::Server)),
        };
        self.shrink_shared(resource, unused);
        result
    }

    /// Takes `less` away from the `count` of a caller.
    #[inline]
    pub fn shrink(&self, resource: Resource, count: &Count, less: usize) {
        let own = self.limits(resource).own;
        let before = count.shrink(less);
        self.shrink_shared(resource, above(before, own) - above(before - less, own));
    }

    /// Adds `more` for callers that have nothing of their own, or are above it; `false`: the limit of all is reached.
    #[inline]
    pub fn grow_shared(&self, resource: Resource, more: usize) -> bool {
        let total = self.limits(resource).total;
        total == 0 || self.shared.get(resource).0.grow(more, total)
    }

    #[inline]
    pub fn shrink_shared(&self, resource: Resource, less: usize) {
        if less > 0 && self.limits(resource).total != 0 {
            self.shared.get(resource).0.shrink(less);
        }
    }

    /// Counts what was taken, in one of the stripes, which it is to be taken away from again.
    #[inline]
    pub fn taken(&self, resource: Resource, stripe: usize, more: usize) {
        self.stripe(resource, stripe).fetch_add(more, Ordering::Relaxed);
    }

    #[inline]
    pub fn given_back(&self, resource: Resource, stripe: usize, less: usize) {
        self.stripe(resource, stripe).fetch_sub(less, Ordering::Relaxed);
    }

    #[inline]
    fn stripe(&self, resource: Resource, stripe: usize) -> &AtomicUsize {
        self.in_use[stripe % STRIPES].0.get(resource)
    }

    pub fn in_use(&self, resource: Resource) -> usize {
        self.in_use.iter().map(|stripe| stripe.0.get(resource).load(Ordering::Relaxed)).fold(0, usize::saturating_add)
    }

    pub fn refuse(&self, resource: Resource) {
        self.refused.get(resource).fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self, resource: Resource) -> u64 {
        self.refused.get(resource).load(Ordering::Relaxed)
    }
}

fn above(count: usize, own: usize) -> usize {
    count.saturating_sub(own)
}

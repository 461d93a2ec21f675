//! The counts of one caller, and who asks.

use std::sync::Arc;

use super::count::Count;
use super::pool::Pool;
use super::resource::{PerResource, Resource};

/// What one principal or one network has of each resource. Clones are the same account.
#[derive(Clone, Debug)]
pub(in crate::server) struct Account(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    pool: Arc<Pool>,
    /// Where the pool counts what it has.
    stripe: usize,
    /// Of a network, whoever has it.
    all: PerResource<Count>,
    /// Of a network, what belongs to no principal.
    strangers: PerResource<Count>,
}

impl Account {
    pub(super) fn new(pool: Arc<Pool>, stripe: usize) -> Self {
        Self(Arc::new(Counts { pool, stripe, all: PerResource::default(), strangers: PerResource::default() }))
    }

    #[inline]
    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    #[inline]
    pub(super) fn stripe(&self) -> usize {
        self.0.stripe
    }

    #[inline]
    pub(super) fn all(&self, resource: Resource) -> &Count {
        self.0.all.get(resource)
    }

    #[inline]
    pub(super) fn strangers(&self, resource: Resource) -> &Count {
        self.0.strangers.get(resource)
    }

    /// Whether anything but the registry refers to it. Nothing counts in one that nobody does.
    pub(super) fn is_referenced(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Who asks for something.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct Caller<'a> {
    /// The account of the network that it calls from.
    pub address: Option<&'a Account>,
    /// The account of who it is.
    pub principal: Option<&'a Account>,
}

impl<'a> Caller<'a> {
    /// Somebody at an address.
    pub(in crate::server) fn address(account: &'a Account) -> Self {
        Self { address: Some(account), principal: None }
    }
}

//! Budgets of a server: what calls and connections take, counted for each caller before it is shared.
//!
//! A caller is a principal, or the strangers at one address (of IPv6, one /64). It may have so much whatever others do
//! ([`CallerLimits::own`]); what it has above that counts in a part that all share ([`CallerLimits::total`]), up to a
//! limit of the caller and one of its address. So nobody can take from others what they need, with many accounts
//! neither, and who needs more than others gets it as long as there is some.
//!
//! Counting takes no lock: a caller below its own changes its own counts only. At the edge two threads may race, so
//! that one is refused too early; never is too much admitted.

mod account;
mod count;
mod exceeded;
mod hold;
mod limits;
mod pool;
mod registry;
mod resource;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(in crate::server) use self::account::{Account, Caller};
pub(in crate::server) use self::exceeded::{Exceeded, Scope};
pub(in crate::server) use self::hold::Hold;
pub use self::limits::{CallerLimits, Limits};
use self::pool::Pool;
use self::registry::Registry;
pub use self::resource::Resource;
use super::peer::Network;

/// What the callers of a server have, held to [`Limits`]. Clones are the same budgets. `/metrics` shows them by
/// [`Ops::budgets`](crate::server::ops::Ops::budgets).
///
/// ```
/// use meshwork::server::{Budgets, Limits, Resource};
///
/// let budgets = Budgets::new(Limits::default());
/// assert_eq!(budgets.in_use(Resource::Streams), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Budgets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Arc<Pool>,
    registry: Registry,
}

impl Budgets {
    /// Budgets of which nothing is taken.
    pub fn new(limits: Limits) -> Self {
        let pool = Arc::new(Pool::new(limits));
        Self(Arc::new(Inner { registry: Registry::new(Arc::clone(&pool)), pool }))
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        self.0.pool.all_limits()
    }

    /// How much of `resource` callers have.
    pub fn in_use(&self, resource: Resource) -> usize {
        self.0.pool.in_use(resource)
    }

    /// How often somebody was refused more of `resource`.
    pub fn refused(&self, resource: Resource) -> u64 {
        self.0.pool.refused(resource)
    }

    /// How many accounts are in memory, of principals and of addresses.
    pub fn callers(&self) -> usize {
        self.0.registry.len()
    }

    /// The account of a network. It takes a lock: once for a connection is enough.
    pub(in crate::server) fn account_of_address(&self, network: Network) -> Account {
        self.0.registry.network(network)
    }

    /// The account of the principal `subject`. It takes a lock, one of several.
    pub(in crate::server) fn account_of_principal(&self, subject: &str) -> Account {
        self.0.registry.principal(subject)
    }

    /// `amount` of `resource` for `caller`, until it is dropped.
    ///
    /// # Errors
    /// The limit that is reached: that of the address, of the caller, or of all. Nothing is taken then.
    pub(in crate::server) fn take(
        &self,
        resource: Resource,
        amount: usize,
        caller: Caller<'_>,
    ) -> Result<Hold, Exceeded> {
        Hold::take(&self.0.pool, resource, amount, caller)
    }

    /// The refusal of more of `resource` for a limit that isn't counted here. It counts as refused.
    pub(in crate::server) fn refuse(&self, resource: Resource, scope: Scope, limit: usize) -> Exceeded {
        self.0.pool.refuse(resource);
        Exceeded { resource, scope, limit }
    }

    /// Whether one more would be refused by the limit of the address, whoever asks: before a signature is checked.
    /// Takes nothing.
    pub(in crate::server) fn is_address_full(&self, resource: Resource, address: &Account) -> bool {
        let limit = self.0.pool.limits(resource).per_address;
        limit != 0 && address.all(resource).now() >= limit
    }
}

impl Default for Budgets {
    /// Budgets with the default [`Limits`].
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

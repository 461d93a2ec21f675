//! What one call or connection has of a resource.

use std::sync::Arc;

use super::account::{Account, Caller};
use super::exceeded::{Exceeded, Scope};
use super::limits::CallerLimits;
use super::pool::Pool;
use super::resource::Resource;

/// A part of a resource; given back when dropped.
#[derive(Debug)]
pub(in crate::server) struct Hold {
    resource: Resource,
    amount: usize,
    owner: Owner,
}

/// In whose counts it is.
#[derive(Debug)]
enum Owner {
    Principal {
        account: Account,
        /// None: not counted, since addresses have no limit.
        address: Option<Account>,
    },
    Stranger(Account),
    /// All is shared.
    Nobody(Arc<Pool>),
}

impl Hold {
    /// `amount` for `caller`; of `pool`, if that has no account.
    pub(super) fn take(
        pool: &Arc<Pool>,
        resource: Resource,
        amount: usize,
        caller: Caller<'_>,
    ) -> Result<Self, Exceeded> {
        let owner = match (caller.principal, caller.address) {
            (Some(account), address) => {
                let by_address = pool.limits(resource).per_address != 0;
                let address = address.filter(|_| by_address).cloned();
                Owner::Principal { account: account.clone(), address }
            }
            (None, Some(account)) => Owner::Stranger(account.clone()),
            (None, None) => Owner::Nobody(Arc::clone(pool)),
        };
        let mut hold = Self { resource, amount: 0, owner };
        hold.resize(amount)?;
        Ok(hold)
    }

    /// How much it is.
    #[cfg(test)]
    pub(in crate::server) fn amount(&self) -> usize {
        self.amount
    }

    /// Makes it `amount`, which never fails when that is less.
    ///
    /// # Errors
    /// The limit that is reached. Then it stays as it was.
    pub(in crate::server) fn resize(&mut self, amount: usize) -> Result<(), Exceeded> {
        if amount > self.amount {
            self.owner.grow(self.resource, amount - self.amount)?;
        } else if amount < self.amount {
            self.owner.shrink(self.resource, self.amount - amount);
        }
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.owner.shrink(self.resource, self.amount);
        }
    }
}

impl Owner {
    #[inline]
    fn pool(&self) -> &Pool {
        match self {
            Self::Principal { account, .. } | Self::Stranger(account) => account.pool(),
            Self::Nobody(pool) => pool,
        }
    }

    #[inline]
    fn stripe(&self) -> usize {
        match self {
            Self::Principal { account, .. } | Self::Stranger(account) => account.stripe(),
            Self::Nobody(_) => 0,
        }
    }

    /// The account of the address, if what it has is counted.
    #[inline]
    fn address(&self, limits: &CallerLimits) -> Option<&Account> {
        match self {
            Self::Principal { address, .. } => address.as_ref(),
            Self::Stranger(account) => Some(account).filter(|_| limits.per_address != 0),
            Self::Nobody(_) => None,
        }
    }

    fn grow(&self, resource: Resource, more: usize) -> Result<(), Exceeded> {
        let pool = self.pool();
        let limits = pool.limits(resource);
        let address = self.address(&limits).map(|address| address.all(resource));
        if let Some(count) = address
            && !count.grow(more, limits.per_address)
        {
            return Err(exceeded(pool, resource, Scope::Address, limits.per_address));
        }
        let (grown, limit) = match self {
            Self::Principal { account, .. } => {
                let limit = limits.per_principal;
                (pool.grow(resource, account.all(resource), more, limit), limit)
            }
            Self::Stranger(account) => {
                let limit = limits.per_stranger;
                (pool.grow(resource, account.strangers(resource), more, limit), limit)
            }
            Self::Nobody(_) => (pool.grow_shared(resource, more).then_some(()).ok_or(Scope::Server), 0),
        };
        if let Err(scope) = grown {
            if let Some(count) = address {
                count.shrink(more);
            }
            let limit = if scope == Scope::Server { limits.total } else { limit };
            return Err(exceeded(pool, resource, scope, limit));
        }
        pool.taken(resource, self.stripe(), more);
        Ok(())
    }

    fn shrink(&self, resource: Resource, less: usize) {
        let pool = self.pool();
        // First, so that what others take at once isn't counted beside it.
        pool.given_back(resource, self.stripe(), less);
        match self {
            Self::Principal { account, .. } => pool.shrink(resource, account.all(resource), less),
            Self::Stranger(account) => pool.shrink(resource, account.strangers(resource), less),
            Self::Nobody(_) => pool.shrink_shared(resource, less),
        }
        if let Some(address) = self.address(&pool.limits(resource)) {
            address.all(resource).shrink(less);
        }
    }
}

#[cold]
fn exceeded(pool: &Pool, resource: Resource, scope: Scope, limit: usize) -> Exceeded {
    pool.refuse(resource);
    Exceeded { resource, scope, limit }
}

//! What all principals at one address may do together.

use std::sync::Arc;

use super::Rate;
use super::plans::PlanSource;
use super::rule::{Key, Rule};
use super::turns::Turns;
use crate::server::Peer;
use crate::server::auth::Principal;
use crate::server::peer::Network;

/// What all principals at one address (of IPv6, one /64) may do together, so that many accounts are no way around a limit of
/// each.
///
/// Half of it is there for whoever comes first. When that is used up, the other half is dealt out in equal turns to the principals
/// that call there: one that calls little is admitted still when those that call much are not. The first half is counted where
/// the limiter counts, in Redis for all instances; turns are dealt out by each instance, of its share.
///
/// Peers that a certificate names, unless they [pass on](crate::server::Builder::trusted_proxies) what others call, calls without a
/// principal (which other rules count by address), and principals of a role that is [exempt](AddressShare::exempt), or on a plan
/// that [is](AddressShare::exempt_plans), are not counted.
#[derive(Clone, Debug)]
pub struct AddressShare {
    rate: Rate,
    exempt: Arc<[Box<str>]>,
    exempt_plans: Arc<[Box<str>]>,
}

impl AddressShare {
    /// All principals at one address together have this rate.
    ///
    /// ```
    /// use meshwork::server::rate::{AddressShare, Rate};
    ///
    /// // That of twenty, if each has 100 and 10 a second.
    /// let share = AddressShare::new(Rate::per_second(20 * 100, 20.0 * 10.0)?).exempt(["service"]);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, exempt: Arc::new([]), exempt_plans: Arc::new([]) }
    }

    /// Doesn't count principals of these roles.
    ///
    /// ```
    /// # use meshwork::server::rate::{AddressShare, Rate};
    /// let share = AddressShare::new(Rate::per_second(2000, 200.0)?).exempt(["service"]);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn exempt<R: Into<Box<str>>>(self, roles: impl IntoIterator<Item = R>) -> Self {
        Self { exempt: roles.into_iter().map(Into::into).collect(), ..self }
    }

    /// Doesn't count principals on these plans, as [`RateLimitLayer::plans`](super::RateLimitLayer::plans) tells them.
    ///
    /// ```
    /// # use meshwork::server::rate::{AddressShare, Rate};
    /// let share = AddressShare::new(Rate::per_second(2000, 200.0)?).exempt_plans(["partner"]);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn exempt_plans<P: Into<Box<str>>>(self, plans: impl IntoIterator<Item = P>) -> Self {
        Self { exempt_plans: plans.into_iter().map(Into::into).collect(), ..self }
    }
}

/// A share as limits count it.
#[derive(Debug)]
pub(super) struct CountedShare {
    /// Counts the half that is for whoever comes first.
    pub common: Rule,
    /// Deals out the other half.
    pub turns: Turns,
    exempt: Arc<[Box<str>]>,
    exempt_plans: Arc<[Box<str>]>,
}

impl CountedShare {
    /// Of a limiter of so many instances.
    pub fn new(share: AddressShare, instances: u32) -> Self {
        let AddressShare { rate, exempt, exempt_plans } = share;
        let half = rate.share(2);
        let (common, turns) = (Rule::new("address", half).key(Key::Address), Turns::new(&half, instances));
        Self { common, turns, exempt, exempt_plans }
    }

    /// The network and the principal that a call counts for, if it does.
    pub fn counted<'a>(
        &self,
        peer: &Peer,
        principal: Option<&'a Principal>,
        plans: Option<&PlanSource>,
    ) -> Option<(Network, &'a str)> {
        let principal = principal.filter(|principal| !self.exempt.iter().any(|role| principal.has_role(role)))?;
        if peer.identity().is_some() && !peer.is_proxy() {
            return None;
        }
        if !self.exempt_plans.is_empty()
            && let Some(plan) = plans.and_then(|plans| plans.0.plan(Some(principal)))
            && self.exempt_plans.iter().any(|exempt| **exempt == *plan)
        {
            return None;
        }
        Some((peer.network_key()?, principal.subject()))
    }
}

//! Callers told apart by what they may have: free of charge, a partner, …

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::rule::Rule;
use crate::server::auth::Principal;

/// Which plan a caller is on, for rules that count the callers of [one plan](Rule::plan).
///
/// ```
/// use meshwork::server::auth::Principal;
/// use meshwork::server::rate::Plans;
///
/// /// Those of the role `partner` are on the plan `partner`, and others with an account on `free`.
/// struct ByRole;
///
/// impl Plans for ByRole {
///     fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
///         principal.map(|principal| if principal.has_role("partner") { "partner" } else { "free" })
///     }
/// }
/// ```
pub trait Plans: Send + Sync + 'static {
    /// The plan of a principal, or of a caller that is none; `None`: of no plan. A limit asks at most once for a call, and
    /// only if a rule of a plan counts its method; an [`AddressShare`](super::AddressShare) that exempts plans asks too. It must
    /// not block.
    fn plan(&self, principal: Option<&Principal>) -> Option<&str>;
}

/// Where limits learn of plans.
#[derive(Clone)]
pub(super) struct PlanSource(pub Arc<dyn Plans>);

impl fmt::Debug for PlanSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanSource")
    }
}

/// Of the rules at these places, which count the same method, those that count callers of `plan`: of each name those of the
/// plan, or else those of none.
pub(super) fn rules_of_plan(rules: &[Rule], places: &[usize], plan: Option<&str>) -> SmallVec<[usize; 2]> {
    let at = |place: &usize| rules.get(*place);
    let is_own = |rule: &Rule| rule.plan.is_some() && rule.plan.as_deref() == plan;
    let counts = |rule: &Rule| match &rule.plan {
        Some(_) => is_own(rule),
        None => !places.iter().filter_map(at).any(|other| other.name == rule.name && is_own(other)),
    };
    places.iter().filter(|place| at(place).is_some_and(counts)).copied().collect()
}

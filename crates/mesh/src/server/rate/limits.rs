//! The limits of a server as plain steps: which rules count a call, what it wants of them, and what it is answered.

use std::sync::Arc;

use http::{HeaderMap, Request};
use smallvec::SmallVec;
use tonic::Status;
use tonic_types::{QuotaViolation, StatusExt as _};

use super::decision::{Decision, EventualDecision};
use super::key::CallParts;
use super::limiter::RateLimiter;
use super::local::{Want, Wants};
use super::plans::{PlanSource, Plans, rules_of_plan};
use super::report::{LimitFields, LimitReport};
use super::rule::Rule;
use super::share::{AddressShare, CountedShare};
use crate::errors::port::{RATE_LIMIT_UNAVAILABLE, RATE_LIMITED};
use crate::server::auth::Principal;
use crate::server::refusal::push_back;
use crate::server::{Domain, Peer, is_health_check};

/// Rules, what counts by them, and who speaks in the refusals. Clones are the same limits.
#[derive(Clone, Debug)]
pub(in crate::server) struct RateLimits(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    limiter: RateLimiter,
    rules: Vec<Rule>,
    /// Its place is behind those of the rules.
    share: Option<Arc<CountedShare>>,
    /// Whether there are rules of plans.
    has_plans: bool,
    /// None: no caller is on a plan.
    plans: Option<PlanSource>,
    /// Whether answers say what is left.
    reports: bool,
    domain: Domain,
}

impl RateLimits {
    /// Limits by `rules`, counted by `limiter`; errors carry `domain`.
    pub(super) fn new(limiter: RateLimiter, rules: Vec<Rule>, domain: Domain) -> Self {
        let has_plans = rules.iter().any(|rule| rule.plan.is_some());
        Self(Arc::new(Inner { limiter, rules, share: None, has_plans, plans: None, reports: false, domain }))
    }

    /// The same limits, and what all principals at one address have together.
    pub(super) fn with_share(&self, share: AddressShare) -> Self {
        let share = Some(Arc::new(CountedShare::new(share, self.0.limiter.instances())));
        Self(Arc::new(Inner { share, ..Inner::clone(&self.0) }))
    }

    /// The same limits, for callers whose plans `plans` tells.
    pub(super) fn with_plans(&self, plans: Arc<dyn Plans>) -> Self {
        Self(Arc::new(Inner { plans: Some(PlanSource(plans)), ..Inner::clone(&self.0) }))
    }

    /// The same limits; whether answers say what is left of them.
    pub(super) fn reporting(&self, reports: bool) -> Self {
        Self(Arc::new(Inner { reports, ..Inner::clone(&self.0) }))
    }

    /// Whether answers say what is left.
    pub(in crate::server) fn reports(&self) -> bool {
        self.0.reports
    }

    /// Takes what a call wants, a token for each or none, and one of what its address has: of what is common there or else, in
    /// its turn, of what is its own. They are taken by reference: moved, they would be in each call's future twice.
    ///
    /// # Errors
    /// The status of a call that is not admitted.
    pub(in crate::server) async fn admit(
        &self,
        wants: &mut Wants,
        peer: &Peer,
        principal: Option<&Principal>,
        report: &LimitReport,
    ) -> Result<(), Status> {
        let Inner { limiter, rules, share, plans, .. } = &*self.0;
        let counted = share.as_ref().and_then(|share| Some((share, share.counted(peer, principal, plans.as_ref())?)));
        let Some((share, (network, subject))) = counted else {
            return self.conclude(self.decide(wants).await, wants, report);
        };
        wants.push(limiter.want_of_call(rules.len(), &share.common, &CallParts::at(peer, &HeaderMap::new())));
        let decision = self.decide(wants).await;
        let is_used_up = matches!(decision, Decision::Denied { rule, .. } if rule == rules.len());
        if !is_used_up || !share.turns.take(network, subject) {
            return self.conclude(decision, wants, report);
        }
        // What is left are the limits of its own.
        let common = wants.pop();
        let decision = self.decide(wants).await;
        wants.extend(common);
        if !decision.is_admitted() {
            share.turns.give_back(network, subject);
        }
        self.conclude(decision, wants, report)
    }

    /// What a decision comes to, and what the answer is to say of it.
    ///
    /// # Errors
    /// The status of a call that is not admitted.
    pub(in crate::server) fn conclude(
        &self,
        decision: Decision,
        wants: &[Want],
        report: &LimitReport,
    ) -> Result<(), Status> {
        if self.0.reports {
            report.set(self.fields(decision, wants));
        }
        self.refusal(decision, wants).map_or(Ok(()), Err)
    }

    /// What an answer says of the limits that a call was held to.
    pub(super) fn fields(&self, decision: Decision, wants: &[Want]) -> LimitFields {
        let decided = match decision {
            Decision::Admitted { quota } => quota.map(|quota| quota.rule),
            Decision::Denied { rule, .. } | Decision::Unavailable { rule } => Some(rule),
        };
        let rules = wants.iter().filter_map(|want| self.rule(want.rule));
        LimitFields::of(rules, decision, decided.and_then(|place| self.rule(place)))
    }

    async fn decide(&self, wants: &Wants) -> Decision {
        match self.ask(wants) {
            EventualDecision::Now(decision) => decision,
            EventualDecision::Later(decision) => decision.await,
        }
    }

    /// The rule at a place.
    fn rule(&self, place: usize) -> Option<&Rule> {
        let Inner { rules, share, .. } = &*self.0;
        rules.get(place).or_else(|| share.as_ref().filter(|_| place == rules.len()).map(|share| &share.common))
    }

    /// The places of the rules that count the method at `path`. None counts health checks.
    pub(in crate::server) fn rules_for(&self, path: &str) -> SmallVec<[usize; 2]> {
        let rules: &[Rule] = if is_health_check(path) { &[] } else { &self.0.rules };
        rules.iter().enumerate().filter(|(_, rule)| rule.counts(path)).map(|(place, _)| place).collect()
    }

    /// What a call wants of the rules at these places, by its extensions; `None` when there is no rule.
    pub(in crate::server) fn wants<A>(&self, rules: &[usize], request: &Request<A>) -> Option<Wants> {
        self.wants_of_call(rules, &CallParts::of(request))
    }

    /// What a call to `path` wants of the rules at these places; `None` when there is no rule.
    pub(in crate::server) fn wants_of(
        &self,
        rules: &[usize],
        peer: Option<&Peer>,
        principal: Option<&Principal>,
        headers: &HeaderMap,
        path: &str,
    ) -> Option<Wants> {
        self.wants_of_call(rules, &CallParts { path, peer, principal, headers })
    }

    /// Takes a token for each, or none.
    pub(in crate::server) fn ask(&self, wants: &Wants) -> EventualDecision {
        self.0.limiter.ask(wants)
    }

    /// The status of a call that [`ask`](Self::ask) would deny now, with what its answer says in `report`; it is counted as one
    /// that was denied. Takes nothing, waits for nobody, and allocates nothing unless there is a status. Buckets in the process
    /// are looked at as they are; of those in Redis this knows the denials that hold still, and what this instance has left while
    /// they are out of reach.
    pub(in crate::server) fn is_exhausted(&self, wants: &Wants, report: &LimitReport) -> Option<Status> {
        self.conclude(self.0.limiter.denial(wants)?, wants, report).err()
    }

    /// The status of a call that is not admitted.
    pub(in crate::server) fn refusal(&self, decision: Decision, wants: &[Want]) -> Option<Status> {
        let Inner { domain, .. } = &*self.0;
        match decision {
            Decision::Admitted { .. } => None,
            Decision::Denied { rule, retry_after } => {
                let caller = wants.iter().find(|want| want.rule == rule).map(|want| want.name.caller())?;
                let rule = self.rule(rule)?;
                // Who waits a rounded-down time would come too early.
                let millis = retry_after.as_nanos().div_ceil(1_000_000).to_string();
                let message =
                    format!("too many calls by {caller} ({}); the next is admitted in {millis} ms", rule.name);
                let plan = rule.plan.as_deref().map(|plan| ("plan", plan));
                let metadata = [("rule", &*rule.name), ("client", &*caller), ("wait_ms", &*millis)];
                let metadata: Vec<_> = metadata.into_iter().chain(plan).collect();
                let mut details = RATE_LIMITED.details(*domain, &metadata);
                details.set_retry_info(Some(retry_after));
                let quota = format!(
                    "rate limit {}: {} at once, {} a second",
                    rule.name,
                    rule.rate.burst(),
                    rule.rate.tokens_per_second()
                );
                details.set_quota_failure(vec![QuotaViolation::new(caller, quota)]);
                let mut status = Status::with_error_details(RATE_LIMITED.code, message, details);
                push_back(&mut status, retry_after);
                Some(status)
            }
            Decision::Unavailable { rule } => {
                let rule = self.rule(rule)?;
                let message = format!("the rate limit {} can't be checked at the moment; retry in a second", rule.name);
                let metadata = [("rule", &*rule.name)];
                Some(RATE_LIMIT_UNAVAILABLE.status(*domain, message, &metadata))
            }
        }
    }

    fn wants_of_call(&self, places: &[usize], call: &CallParts<'_>) -> Option<Wants> {
        let Inner { limiter, rules, has_plans, plans, .. } = &*self.0;
        let is_planned = |place: &usize| rules.get(*place).is_some_and(|rule| rule.plan.is_some());
        let of_plan = (*has_plans && places.iter().any(is_planned)).then(|| {
            let plan = plans.as_ref().and_then(|plans| plans.0.plan(call.principal));
            rules_of_plan(rules, places, plan)
        });
        let places = of_plan.as_deref().unwrap_or(places);
        let want = |place: &usize| Some(limiter.want_of_call(*place, rules.get(*place)?, call));
        let wants: Wants = places.iter().filter_map(want).collect();
        (!wants.is_empty()).then_some(wants)
    }
}

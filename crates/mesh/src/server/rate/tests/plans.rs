//! Rules of plans: which of them a caller is held to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use crate::server::Domain;
use crate::server::auth::Principal;
use crate::server::rate::limits::RateLimits;
use crate::server::rate::{Plans, Rate, RateLimiter, Rule};

const PATHS: [&str; 3] = ["/a.Orders/Get", "/a.Orders/Place", "/b.Users/Get"];
const METHODS: [&str; 3] = ["a.Orders", "a.Orders/Place", "b.Users"];
const NAMES: [&str; 2] = ["calls", "writes"];
const PLANS: [&str; 2] = ["free", "partner"];

/// A caller's first role is its plan; counts how often it is asked.
#[derive(Default)]
struct ByRole(AtomicUsize);

impl Plans for ByRole {
    fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
        self.0.fetch_add(1, Ordering::SeqCst);
        PLANS.into_iter().find(|plan| principal.is_some_and(|principal| principal.has_role(plan)))
    }
}

#[derive(Clone, Debug)]
struct Described {
    name: &'static str,
    plan: Option<&'static str>,
    method: Option<&'static str>,
}

impl Described {
    fn rule(&self) -> Rule {
        let rule = Rule::new(self.name, Rate::new(1, 1, Duration::from_secs(86_400)).unwrap());
        let rule = self.plan.map_or(rule.clone(), |plan| rule.plan(plan));
        self.method.map_or(rule.clone(), |method| rule.methods([method]))
    }

    fn counts(&self, path: &str) -> bool {
        self.method.is_none_or(|method| path[1..] == *method || path[1..].starts_with(&format!("{method}/")))
    }
}

fn described() -> impl Strategy<Value = Described> {
    let optional = prop::option::of::<prop::sample::Select<&'static str>>;
    let fields = (
        prop::sample::select(&NAMES[..]),
        optional(prop::sample::select(&PLANS[..])),
        optional(prop::sample::select(&METHODS[..])),
    );
    fields.prop_map(|(name, plan, method)| Described { name, plan, method })
}

/// Of each name, those of the caller's plan that count the method, or else those of none.
fn expected(rules: &[Described], path: &str, plan: Option<&str>) -> Vec<usize> {
    let mut places = Vec::new();
    for name in NAMES {
        let of = |wanted: Option<&str>| -> Vec<usize> {
            let is_it = |rule: &Described| rule.name == name && rule.plan == wanted && rule.counts(path);
            (0..rules.len()).filter(|place| is_it(&rules[*place])).collect()
        };
        let own = plan.map(|plan| of(Some(plan))).unwrap_or_default();
        places.extend(if own.is_empty() { of(None) } else { own });
    }
    places.sort_unstable();
    places
}

fn asked(limits: &RateLimits, principal: Option<&Principal>, path: &str) -> Vec<usize> {
    let wants = limits.wants_of(&limits.rules_for(path), None, principal, &HeaderMap::new(), path);
    wants.into_iter().flatten().map(|want| want.rule).collect()
}

proptest! {
    #[test]
    fn of_each_name_a_caller_is_held_to_the_rules_of_its_plan_or_else_to_those_of_none(
        rules in prop::collection::vec(described(), 1..8),
        path in prop::sample::select(&PATHS[..]),
        plan in prop::option::of(prop::sample::select(&PLANS[..])),
    ) {
        let source = Arc::new(ByRole::default());
        let limits = RateLimits::new(
            RateLimiter::in_process(),
            rules.iter().map(Described::rule).collect(),
            Domain::default(),
        );
        let anna = Principal::new("users/anna", plan);
        // Nobody tells of plans: nobody is on one.
        prop_assert_eq!(asked(&limits, Some(&anna), path), expected(&rules, path, None));
        let limits = limits.with_plans(Arc::clone(&source) as Arc<dyn Plans>);
        prop_assert_eq!(asked(&limits, Some(&anna), path), expected(&rules, path, plan));
        let is_asked = rules.iter().any(|rule| rule.plan.is_some() && rule.counts(path));
        prop_assert_eq!(source.0.load(Ordering::SeqCst), usize::from(is_asked));
        prop_assert_eq!(asked(&limits, None, path), expected(&rules, path, None));
    }
}

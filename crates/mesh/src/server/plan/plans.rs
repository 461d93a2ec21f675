//! From a path to the plan of its method.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::method::MethodPlan;
use crate::server::router::service_of;

/// The plan of a method, by its place among its [`Plans`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct PlanId(u32);

/// The plans of a server's methods. Made once, they don't change; their number is bounded by what descriptors, tables and
/// settings name, never by what callers ask for.
pub(in crate::server) struct Plans {
    plans: Vec<MethodPlan>,
    /// By path, `/package.Service/Method`.
    methods: HashMap<Box<str>, PlanId, RandomState>,
    /// By `package.Service`: for methods that have no plan of their own.
    services: HashMap<Box<str>, PlanId, RandomState>,
    /// For methods of services that have none either.
    others: MethodPlan,
}

impl Plans {
    /// Without methods: `others` is the plan of everything.
    pub(super) fn new(others: MethodPlan) -> Self {
        Self { plans: Vec::new(), methods: HashMap::default(), services: HashMap::default(), others }
    }

    pub(super) fn add_method(&mut self, path: &str, plan: MethodPlan) {
        let id = self.push(plan);
        self.methods.insert(path.into(), id);
    }

    pub(super) fn add_service(&mut self, name: &str, plan: MethodPlan) {
        let id = self.push(plan);
        self.services.insert(name.into(), id);
    }

    fn push(&mut self, plan: MethodPlan) -> PlanId {
        let id = PlanId(u32::try_from(self.plans.len()).unwrap_or(OTHERS.0));
        self.plans.push(plan);
        id
    }

    /// The plan for the method at `path`. One look into a map if it has a plan of its own.
    pub(in crate::server) fn find(&self, path: &str) -> PlanId {
        let of_service = || self.services.get(service_of(path)?);
        self.methods.get(path).or_else(of_service).copied().unwrap_or(OTHERS)
    }

    /// The plan that [`Plans::find`] has found.
    pub(in crate::server) fn get(&self, id: PlanId) -> &MethodPlan {
        usize::try_from(id.0).ok().and_then(|place| self.plans.get(place)).unwrap_or(&self.others)
    }
}

/// The plan for what nothing is known of. There are never so many plans.
const OTHERS: PlanId = PlanId(u32::MAX);

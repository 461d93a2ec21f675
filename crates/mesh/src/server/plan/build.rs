//! Makes the plans of a server out of all that its settings say of methods.

use std::collections::BTreeSet;
use std::time::Duration;

use smallvec::SmallVec;

use super::limit::MethodCounts;
use super::method::{Exemption, MethodPlan, PlannedAccess, PlannedRules};
use super::methods::StreamingMethods;
use super::plans::Plans;
use super::settings::MethodSettings;
use crate::server::ServerError;
use crate::server::auth::AccessTable;
use crate::server::rate::RateLimits;
use crate::server::router::{Router, service_of};

/// Methods that servers have whether or not the descriptors tell of them.
const OWN: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// The longest time of a call that a clock can be asked for.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What plans are made of.
pub(in crate::server) struct PlanInputs {
    /// Encoded `FileDescriptorSet`s.
    pub sets: Vec<Vec<u8>>,
    /// Whom methods admit; `None`: everybody.
    pub access: Option<AccessTable>,
    pub settings: MethodSettings,
    /// The server's own, for methods whose setting says nothing else.
    pub timeout: Option<Duration>,
    pub first_message: Duration,
    pub max_message: usize,
    pub by_address: Option<RateLimits>,
    pub by_principal: Option<RateLimits>,
    /// With all its services and its fallback.
    pub router: Router,
}

/// What a server offers beyond that. It is for services that the server neither has nor has descriptors of.
#[derive(Clone, Copy)]
pub(in crate::server) struct AddedContracts<'a> {
    pub methods: &'a StreamingMethods,
    /// Whom these methods admit. There is always a table: what it doesn't name is refused.
    pub access: &'a AccessTable,
}

impl Plans {
    /// Makes a plan for each method that the descriptors, the tables or the settings name, one for what else each service may
    /// have, and one for the rest. What is in flight by `counts` counts for them.
    ///
    /// # Errors
    /// When a set can't be decoded; or when a setting is for a method that its service, as the server's own descriptors have
    /// it, lacks.
    pub(in crate::server) fn build(
        inputs: &PlanInputs,
        added: Option<AddedContracts<'_>>,
        counts: &MethodCounts,
    ) -> Result<Self, ServerError> {
        let mut methods = StreamingMethods::default();
        for set in &inputs.sets {
            methods = methods.and(StreamingMethods::decode(set).map_err(ServerError::Descriptors)?);
        }
        let planner = Planner::new(&methods, inputs, added, counts);
        planner.check_settings()?;
        counts.forget_unused();
        Ok(planner.plans())
    }

    /// The plans of what `router` answers, without descriptors and settings.
    pub(in crate::server) fn of_routes(router: Router, first_message: Duration, max_message: usize) -> Self {
        let inputs = PlanInputs {
            sets: Vec::new(),
            access: None,
            settings: MethodSettings::new(),
            timeout: None,
            first_message,
            max_message,
            by_address: None,
            by_principal: None,
            router,
        };
        Planner::new(&StreamingMethods::default(), &inputs, None, &MethodCounts::default()).plans()
    }
}

/// What a plan is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covers {
    One,
    /// Methods that nothing names, of a service or of none.
    Several,
}

struct Planner<'a> {
    methods: &'a StreamingMethods,
    /// The services that the descriptors have.
    described: BTreeSet<&'a str>,
    /// The services that the server answers for by itself.
    routed: BTreeSet<&'a str>,
    inputs: &'a PlanInputs,
    added: Option<AddedContracts<'a>>,
    counts: &'a MethodCounts,
}

impl<'a> Planner<'a> {
    fn new(
        methods: &'a StreamingMethods,
        inputs: &'a PlanInputs,
        added: Option<AddedContracts<'a>>,
        counts: &'a MethodCounts,
    ) -> Self {
        let described = methods.paths().filter_map(service_of).collect();
        Self { methods, described, routed: inputs.router.services().collect(), inputs, added, counts }
    }

    /// What was added, as far as it may say something of `path`: nothing of a service that the server has itself or by its
    /// descriptors, and nothing of health and reflection.
    fn added(&self, path: &str) -> Option<AddedContracts<'a>> {
        let is_built = |service: &str| self.routed.contains(service) || self.described.contains(service);
        let may = Exemption::of(path) == Exemption::None && !service_of(path).is_some_and(is_built);
        self.added.filter(|_| may)
    }

    /// The methods that were added.
    fn added_paths(&self) -> impl Iterator<Item = &'a str> {
        let named = self
            .added
            .into_iter()
            .flat_map(|added| added.methods.paths().chain(added.access.methods().map(|(path, _)| path)));
        named.filter(|path| service_of(path).is_some() && self.added(path).is_some())
    }

    fn plans(&self) -> Plans {
        let mut plans = Plans::new(self.plan("", Covers::Several));
        for path in self.paths() {
            plans.add_method(path, self.plan(path, Covers::One));
        }
        for service in self.services() {
            plans.add_service(service, self.plan(&format!("/{service}/"), Covers::Several));
        }
        plans
    }

    /// All methods that something names.
    fn paths(&self) -> BTreeSet<&'a str> {
        let table = self.inputs.access.iter().flat_map(AccessTable::methods).map(|(path, _)| path);
        let settings = self.inputs.settings.methods.keys().map(AsRef::as_ref);
        self.methods.paths().chain(table).chain(settings).chain(OWN).chain(self.added_paths()).collect()
    }

    /// All services that something names.
    fn services(&self) -> BTreeSet<&'a str> {
        let settings = self.inputs.settings.services.keys().map(AsRef::as_ref);
        let named = self.described.iter().chain(&self.routed).copied();
        let added = self.added_paths().filter_map(service_of);
        named.chain(settings).chain(OWN.into_iter().filter_map(service_of)).chain(added).collect()
    }

    fn check_settings(&self) -> Result<(), ServerError> {
        let settings = &self.inputs.settings;
        for path in settings.methods.keys() {
            // Health and reflection are there without descriptors as well.
            let lacks =
                |service: &str| self.described.contains(service) && !self.methods.has(path) && !OWN.contains(&&**path);
            if service_of(path).is_none_or(lacks) {
                return Err(ServerError::UnknownMethod(path.to_string()));
            }
        }
        // One text of settings may be for several servers: a service that isn't here is no error.
        let of_methods = settings.methods.keys().filter_map(|path| service_of(path));
        let named: BTreeSet<&str> = of_methods.chain(settings.services.keys().map(AsRef::as_ref)).collect();
        let added: BTreeSet<&str> = self.added_paths().filter_map(service_of).collect();
        let added_methods = self.added.map(|added| added.methods);
        for path in settings.methods.keys() {
            // What others describe may change at any time, and mustn't stop what is right.
            let lacks = |methods: &StreamingMethods| {
                let is_described = service_of(path).is_some_and(|service| methods.has_service(service));
                is_described && !methods.has(path) && self.added(path).is_some()
            };
            if added_methods.is_some_and(lacks) {
                tracing::warn!(method = &**path, "there are settings for a method that its service doesn't have");
            }
        }
        for service in named {
            let own = || OWN.into_iter().filter_map(service_of).any(|own| own == service);
            let routed = || self.inputs.router.route(&format!("/{service}/")).is_some();
            if !self.described.contains(service) && !added.contains(service) && !own() && !routed() {
                tracing::warn!(service, "there are method settings for a service that this server doesn't know");
            }
        }
        Ok(())
    }

    /// The plan for the method at `path`, or for others below it.
    fn plan(&self, path: &str, covers: Covers) -> MethodPlan {
        let inputs = self.inputs;
        let exemption = Exemption::of(path);
        let setting = match exemption {
            Exemption::None => inputs.settings.get(path),
            _ => inputs.settings.named(path).unwrap_or_default(),
        };
        let streams = self.methods.find(path).or_else(|| self.added(path)?.methods.find(path));
        let rules = |limits: Option<&RateLimits>| match limits {
            None => PlannedRules::Planned(SmallVec::new()),
            Some(limits) if covers == Covers::One => PlannedRules::Planned(limits.rules_for(path)),
            Some(limits) => PlannedRules::ByPath(limits.clone()),
        };
        MethodPlan {
            named: covers == Covers::One,
            streams,
            exemption,
            access: self.access(path, exemption),
            timeout: setting.timeout.into_iter().chain(inputs.timeout).min().map(|time| time.min(LONGEST)),
            first_message: setting.first_message.unwrap_or(inputs.first_message).min(LONGEST),
            max_message: setting.max_request_message_bytes.unwrap_or(inputs.max_message),
            by_address: rules(inputs.by_address.as_ref()),
            by_principal: rules(inputs.by_principal.as_ref()),
            resource: exemption.resource(streams),
            calls: setting.max_concurrent_calls.map(|limit| self.counts.calls(path, limit)),
            route: inputs.router.route(path),
        }
    }

    /// Who may call what is at `path`. What the table doesn't name goes on only if a fallback is to refuse it.
    fn access(&self, path: &str, exemption: Exemption) -> PlannedAccess {
        let (table, added) = (self.inputs.access.as_ref(), self.added(path));
        if exemption != Exemption::None || (table.is_none() && added.is_none()) {
            return PlannedAccess::Open;
        }
        if let Some(access) = table.and_then(|table| table.get(path)).or_else(|| added?.access.get(path)) {
            return PlannedAccess::Admits(access.clone());
        }
        match service_of(path).filter(|service| self.routed.contains(*service)) {
            Some(service) if self.described.contains(service) && !self.methods.has(path) => PlannedAccess::Absent,
            Some(_) => PlannedAccess::Closed,
            None if self.inputs.router.route(path).is_some() => {
                let is_added = added.is_some_and(|added| added.methods.has(path));
                if is_added { PlannedAccess::Closed } else { PlannedAccess::AskFallback }
            }
            // A layer of the user's might lead it somewhere.
            None => PlannedAccess::Absent,
        }
    }
}

//! Makes the plans of a server out of all that its settings say of methods.

use std::collections::BTreeSet;
use std::time::Duration;

use smallvec::SmallVec;

use super::limit::MethodCalls;
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
pub(in crate::server) struct PlanInputs<'a> {
    /// Encoded `FileDescriptorSet`s.
    pub sets: &'a [Vec<u8>],
    /// Whom methods admit; `None`: everybody.
    pub access: Option<&'a AccessTable>,
    pub settings: &'a MethodSettings,
    /// The server's own, for methods whose setting says nothing else.
    pub timeout: Option<Duration>,
    pub first_message: Duration,
    pub max_message: usize,
    pub by_address: Option<&'a RateLimits>,
    pub by_principal: Option<&'a RateLimits>,
    /// With all its services and its fallback.
    pub router: &'a Router,
}

impl Plans {
    /// Makes a plan for each method that the descriptors, the table or the settings name, one for what else each
    /// service may have, and one for the rest.
    ///
    /// # Errors
    /// When a set can't be decoded; or when a setting is for a method that its service, as the descriptors have it,
    /// lacks.
    pub(in crate::server) fn build(inputs: PlanInputs<'_>) -> Result<Self, ServerError> {
        let mut methods = StreamingMethods::default();
        for set in inputs.sets {
            methods = methods.and(StreamingMethods::decode(set).map_err(ServerError::Descriptors)?);
        }
        let planner = Planner::new(&methods, &inputs);
        planner.check_settings()?;
        Ok(planner.plans())
    }

    /// The plans of what `router` answers, without descriptors and settings.
    pub(in crate::server) fn of_routes(router: &Router, first_message: Duration, max_message: usize) -> Self {
        let inputs = PlanInputs {
            sets: &[],
            access: None,
            settings: &MethodSettings::new(),
            timeout: None,
            first_message,
            max_message,
            by_address: None,
            by_principal: None,
            router,
        };
        Planner::new(&StreamingMethods::default(), &inputs).plans()
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
    inputs: &'a PlanInputs<'a>,
}

impl<'a> Planner<'a> {
    fn new(methods: &'a StreamingMethods, inputs: &'a PlanInputs<'a>) -> Self {
        let described = methods.paths().filter_map(service_of).collect();
        Self { methods, described, routed: inputs.router.services().collect(), inputs }
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
        let table = self.inputs.access.into_iter().flat_map(AccessTable::methods).map(|(path, _)| path);
        let settings = self.inputs.settings.methods.keys().map(AsRef::as_ref);
        self.methods.paths().chain(table).chain(settings).chain(OWN).collect()
    }

    /// All services that something names.
    fn services(&self) -> BTreeSet<&'a str> {
        let settings = self.inputs.settings.services.keys().map(AsRef::as_ref);
        let named = self.described.iter().chain(&self.routed).copied();
        named.chain(settings).chain(OWN.into_iter().filter_map(service_of)).collect()
    }

    fn check_settings(&self) -> Result<(), ServerError> {
        let settings = self.inputs.settings;
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
        for service in named {
            let own = || OWN.into_iter().filter_map(service_of).any(|own| own == service);
            let routed = || self.inputs.router.route(&format!("/{service}/")).is_some();
            if !self.described.contains(service) && !own() && !routed() {
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
        let streams = self.methods.find(path);
        let rules = |limits: Option<&RateLimits>| match limits {
            None => PlannedRules::Planned(SmallVec::new()),
            Some(limits) if covers == Covers::One => PlannedRules::Planned(limits.rules_for(path)),
            Some(limits) => PlannedRules::ByPath(limits.clone()),
        };
        MethodPlan {
            streams,
            exemption,
            access: self.access(path, exemption),
            timeout: setting.timeout.into_iter().chain(inputs.timeout).min().map(|time| time.min(LONGEST)),
            first_message: setting.first_message.unwrap_or(inputs.first_message).min(LONGEST),
            max_message: setting.max_request_message_bytes.unwrap_or(inputs.max_message),
            by_address: rules(inputs.by_address),
            by_principal: rules(inputs.by_principal),
            resource: exemption.resource(streams),
            calls: setting.max_concurrent_calls.map(MethodCalls::new),
            route: inputs.router.route(path),
        }
    }

    /// Who may call what is at `path`. What the table doesn't name goes on only if a fallback is to refuse it.
    fn access(&self, path: &str, exemption: Exemption) -> PlannedAccess {
        let Some(table) = self.inputs.access else { return PlannedAccess::Open };
        if exemption != Exemption::None {
            return PlannedAccess::Open;
        }
        if let Some(access) = table.get(path) {
            return PlannedAccess::Admits(access.clone());
        }
        match service_of(path).filter(|service| self.routed.contains(*service)) {
            Some(service) if self.described.contains(service) && !self.methods.has(path) => PlannedAccess::Absent,
            Some(_) => PlannedAccess::Closed,
            None if self.inputs.router.route(path).is_some() => PlannedAccess::AskFallback,
            // A layer of the user's might lead it somewhere.
            None => PlannedAccess::Absent,
        }
    }
}

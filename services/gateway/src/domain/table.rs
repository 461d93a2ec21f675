//! Routes: from a method to the upstreams that may answer it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::matching::{MirrorRule, Rule};
use super::settings::{Admits, CallerKind, ContractsFrom, InvalidRoutes, RouteSettings, UpstreamSettings, service_of};
use super::upstream::{SERVICE, Upstream, UpstreamName};

/// A method of the shop's contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The package, such as `meshwork.orders.v1`.
    pub package: String,
    /// The service in it, such as `OrderService`.
    pub service: String,
    /// The method, such as `WatchOrder`.
    pub name: String,
    /// Whether it changes nothing, by its `idempotency_level`.
    pub reads: bool,
}

impl Method {
    /// The full name of its service.
    pub fn full_service(&self) -> String {
        format!("{}.{}", self.package, self.service)
    }

    /// Its path, `/package.Service/Method`.
    pub fn path(&self) -> String {
        format!("/{}.{}/{}", self.package, self.service, self.name)
    }
}

/// A method of an upstream that the configuration adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedMethod {
    /// Its name.
    pub name: String,
    /// Whether it changes nothing, by its `idempotency_level`.
    pub reads: bool,
    /// Whom it admits; `None`: nobody has said it, and it admits nobody.
    pub admits: Option<Admits>,
}

/// A service of an upstream that the configuration adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferedService {
    /// Its upstream hasn't said yet what methods it has.
    Pending,
    /// It has these.
    Known(Vec<OfferedMethod>),
}

/// What an upstream that the configuration adds offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Who.
    pub upstream: UpstreamName,
    /// Its services, by their full names.
    pub services: BTreeMap<String, OfferedService>,
}

impl Offer {
    /// What `upstream` offers by its settings: of the services in `contracts`, where `admits` is what the contracts say
    /// themselves. `None` while nobody knows them.
    ///
    /// # Errors
    /// When the settings name what a file of contracts doesn't have.
    pub fn new(
        upstream: &UpstreamName,
        settings: &UpstreamSettings,
        contracts: Option<&BTreeMap<String, Vec<OfferedMethod>>>,
    ) -> Result<Self, InvalidRoutes> {
        let named = settings.named_services();
        let Some(contracts) = contracts else {
            let pending = |service: &str| (service.to_owned(), OfferedService::Pending);
            return Ok(Self { upstream: upstream.clone(), services: named.into_iter().map(pending).collect() });
        };
        let is_file = settings.contracts == ContractsFrom::File;
        if is_file && let Some((key, name)) = Self::unknown(settings, contracts).first() {
            let key = format!("upstreams.{upstream}.{key}");
            let there: Vec<_> = contracts.keys().take(8).map(String::as_str).collect();
            let problem = format!("names {name}, which the descriptors don't have; they have {}", there.join(", "));
            return Err(InvalidRoutes::new(key, problem));
        }
        let mut services = BTreeMap::new();
        for (service, methods) in contracts {
            if !settings.offers(service) || !(is_file || named.contains(service.as_str())) {
                continue;
            }
            let offered = methods.iter().filter_map(|method| {
                let own = settings.access_of(service, &method.name);
                let declared = method.admits.as_ref().filter(|_| is_file);
                // As of the shop's own: what is for services alone isn't offered, unless somebody says so here.
                if own.is_none() && declared == Some(&Admits::Kinds([CallerKind::Service].into())) {
                    return None;
                }
                Some(OfferedMethod { admits: own.or(declared).cloned(), ..method.clone() })
            });
            services.insert(service.clone(), OfferedService::Known(offered.collect()));
        }
        // What its server hasn't told of may come with a later release of it.
        for service in named.into_iter().filter(|service| !is_file && !contracts.contains_key(*service)) {
            services.insert(service.to_owned(), OfferedService::Pending);
        }
        Ok(Self { upstream: upstream.clone(), services })
    }

    /// What the settings name and the contracts don't have, each with its key.
    pub fn unknown<'s>(
        settings: &'s UpstreamSettings,
        contracts: &BTreeMap<String, Vec<OfferedMethod>>,
    ) -> Vec<(&'static str, &'s str)> {
        let is_known = |name: &str| {
            let methods = contracts.get(service_of(name));
            methods.is_some_and(|methods| match name.split_once('/') {
                Some((_, method)) => methods.iter().any(|known| known.name == method),
                None => true,
            })
        };
        let services = settings.services.iter().map(|name| ("services", name.as_str()));
        let access = settings.access.keys().map(|name| ("access", name.as_str()));
        services.chain(access).filter(|(_, name)| !is_known(name)).collect()
    }
}

/// Where calls of a method go that no rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where they may go; there is at least one.
    pub upstreams: Arc<[UpstreamName]>,
}

impl Route {
    /// Where a call goes whose caller has `named` upstreams by [`SERVICE`]: to the named one, or to the only one when none
    /// is named. `None` when that isn't one.
    pub fn choose<'n>(&self, mut named: impl Iterator<Item = &'n [u8]>) -> Option<&UpstreamName> {
        match (named.next(), named.next(), &*self.upstreams) {
            (None, _, [only]) => Some(only),
            (Some(name), None, all) => all.iter().find(|upstream| upstream.as_str().as_bytes() == name),
            _ => None,
        }
    }
}

/// A rule as it holds for a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Its mirrors that get copies of calls of this method.
    pub mirrors: Vec<MirrorRule>,
}

/// How calls of a method are passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodRoute {
    /// Where those go that no rule is for.
    pub route: Route,
    /// The rules for them, of which the first that matches holds.
    pub rules: Vec<PlannedRule>,
    /// Whether the configuration has added it.
    pub is_added: bool,
    /// Whom it admits by the configuration; the shop's own methods say that in their contracts.
    pub admits: Option<Admits>,
}

/// All routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By path, `/package.Service/Method`.
    methods: HashMap<String, MethodRoute>,
    /// The services, each with the upstreams that its calls go to.
    services: BTreeMap<String, Arc<[UpstreamName]>>,
    /// The services whose methods aren't known yet, each with its upstream.
    pending: BTreeMap<String, UpstreamName>,
    /// The services that the configuration has added, and whose methods are known.
    added: Vec<String>,
}

impl RouteTable {
    /// The routes of those methods of the `shop` that an upstream answers, and of what the configuration adds. What has one
    /// of the `reserved` names of services can't be added.
    ///
    /// # Errors
    /// When the settings don't fit together.
    pub fn new(
        shop: impl IntoIterator<Item = Method>,
        reserved: &BTreeSet<String>,
        settings: &RouteSettings,
        offers: Vec<Offer>,
    ) -> Result<Self, InvalidRoutes> {
        let rules = RulesOfServices::new(settings)?;
        let mut table = Self::default();
        for method in shop {
            let upstreams = Upstream::of_service(&method.package, &method.service);
            if !upstreams.is_empty() {
                let upstreams: Arc<[_]> = upstreams.iter().copied().map(UpstreamName::from).collect();
                let (service, path) = (method.full_service(), method.path());
                let planned = rules.planned(&service, &method.name, method.reads);
                table.services.insert(service, Arc::clone(&upstreams));
                let route = Route { upstreams };
                table.methods.insert(path, MethodRoute { route, rules: planned, is_added: false, admits: None });
            }
        }
        for Offer { upstream, services } in offers {
            for (service, offered) in services {
                table.free(&service, &upstream, reserved)?;
                table.add(service, &upstream, offered, &rules);
            }
        }
        table.check(settings)?;
        for (service, upstreams) in rules.whole() {
            if let Some(answering) = table.services.get_mut(service) {
                *answering = upstreams;
            }
        }
        Ok(table)
    }

    /// Whether `upstream` may have a service of this name.
    fn free(&self, service: &str, upstream: &UpstreamName, reserved: &BTreeSet<String>) -> Result<(), InvalidRoutes> {
        let key = || format!("upstreams.{upstream}");
        if reserved.contains(service) {
            let problem = format!(
                "offers {service}, which the gateway has already: list others in its `services`, and send calls of that one \
                 there by `routes`"
            );
            return Err(InvalidRoutes::new(key(), problem));
        }
        let known = self.services.get(service).and_then(|upstreams| upstreams.first());
        match known.or_else(|| self.pending.get(service)) {
            None => Ok(()),
            Some(other) => {
                let problem = format!(
                    "offers {service}, and so does {other}: list it in the `services` of one of them, and spread its calls by \
                     `routes`"
                );
                Err(InvalidRoutes::new(key(), problem))
            }
        }
    }

    fn add(&mut self, service: String, upstream: &UpstreamName, offered: OfferedService, rules: &RulesOfServices) {
        let OfferedService::Known(methods) = offered else {
            self.pending.insert(service, upstream.clone());
            return;
        };
        let upstreams: Arc<[_]> = [upstream.clone()].into();
        for OfferedMethod { name, reads, admits } in methods {
            let planned = rules.planned(&service, &name, reads);
            let route = Route { upstreams: Arc::clone(&upstreams) };
            let path = format!("/{service}/{name}");
            self.methods.insert(path, MethodRoute { route, rules: planned, is_added: true, admits });
        }
        self.added.push(service.clone());
        self.services.insert(service, upstreams);
    }

    /// Whether each rule is for calls that there are.
    fn check(&self, settings: &RouteSettings) -> Result<(), InvalidRoutes> {
        for (at, rule) in settings.rules.iter().enumerate() {
            let service = &rule.service;
            if self.pending.contains_key(service) {
                continue;
            }
            let wrong = |key: &str, problem: String| Err(InvalidRoutes::new(format!("routes[{at}].{key}"), problem));
            let Some(upstreams) = self.services.get(service) else {
                let problem = format!("is {service:?}, and no upstream has a service of that name; give its full name");
                return wrong("service", problem);
            };
            if upstreams.len() > 1 {
                let problem = format!("is {service:?}, of which callers choose the upstream by the metadata {SERVICE}");
                return wrong("service", problem);
            }
            // What is told by reflection may be another tomorrow.
            let added = upstreams.first().and_then(|upstream| settings.upstreams.get(upstream));
            if let Some(method) = &rule.method
                && !added.is_some_and(UpstreamSettings::learns)
                && !self.methods.contains_key(&format!("/{service}/{method}"))
            {
                return wrong("method", format!("is {method:?}, and {service} has no method of that name"));
            }
        }
        Ok(())
    }

    /// The route of the method at `path`, `/package.Service/Method`.
    pub fn find(&self, path: &str) -> Option<&MethodRoute> {
        self.methods.get(path)
    }

    /// The upstream of the method at `path` whose service's methods aren't known yet.
    pub fn pending(&self, path: &str) -> Option<&UpstreamName> {
        self.pending.get(service_of(path.strip_prefix('/')?))
    }

    /// The full names of the services, each with the upstreams that its calls go to unless their headers or their method
    /// lead elsewhere: none while its methods aren't known. In order of their names.
    pub fn services(&self) -> impl Iterator<Item = (&str, Arc<[UpstreamName]>)> {
        let known = self.services.iter().map(|(name, upstreams)| (name.as_str(), Arc::clone(upstreams)));
        known.chain(self.pending.keys().map(|name| (name.as_str(), Arc::default())))
    }

    /// The services that the configuration has added, and whose methods are known.
    pub fn added_services(&self) -> &[String] {
        &self.added
    }

    /// The paths of the methods that the configuration has added, each with whom it admits.
    pub fn access(&self) -> impl Iterator<Item = (&str, &Admits)> {
        self.methods.iter().filter_map(|(path, method)| Some((path.as_str(), method.admits.as_ref()?)))
    }
}

/// The rules by the services that they are for.
struct RulesOfServices<'s>(HashMap<&'s str, Vec<&'s Arc<Rule>>>);

impl<'s> RulesOfServices<'s> {
    /// Those of the settings.
    fn new(settings: &'s RouteSettings) -> Result<Self, InvalidRoutes> {
        let shop = Upstream::ALL.map(UpstreamName::from);
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        for (at, rule) in settings.rules.iter().enumerate() {
            let to = rule.to.iter().flat_map(|to| to.upstreams()).map(|upstream| ("to", upstream));
            let mirrors = rule.mirrors.iter().map(|mirror| ("mirror", &mirror.upstream));
            for (key, upstream) in to.chain(mirrors) {
                if !shop.contains(upstream) && !settings.upstreams.contains_key(upstream) {
                    let there: Vec<_> =
                        shop.iter().chain(settings.upstreams.keys()).map(UpstreamName::as_str).collect();
                    let problem = format!("names the upstream {upstream}; there are {}", there.join(", "));
                    return Err(InvalidRoutes::new(format!("routes[{at}].{key}"), problem));
                }
            }
            rules.entry(rule.service.as_str()).or_default().push(rule);
        }
        Ok(Self(rules))
    }

    fn of(&self, service: &str) -> impl Iterator<Item = &'s Arc<Rule>> {
        self.0.get(service).into_iter().flatten().copied()
    }

    /// Those for a method; `reads` says whether it changes nothing.
    fn planned(&self, service: &str, method: &str, reads: bool) -> Vec<PlannedRule> {
        let planned = |rule: &Arc<Rule>| {
            let mirrors = rule.mirrors.iter().filter(|mirror| reads || mirror.side_effects).cloned().collect();
            PlannedRule { rule: Arc::clone(rule), mirrors }
        };
        self.of(service).filter(|rule| rule.is_for(method)).map(planned).collect()
    }

    /// The services all of whose calls go by a rule, each with the upstreams that get them.
    fn whole(&self) -> impl Iterator<Item = (&'s str, Arc<[UpstreamName]>)> {
        self.0.iter().filter_map(|(service, rules)| {
            let whole = rules.iter().find(|rule| rule.takes_all())?;
            Some((*service, whole.to.as_ref()?.used().cloned().collect()))
        })
    }
}

//! What the configuration says of routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::matching::Rule;
use super::upstream::UpstreamName;

/// Routes can't be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {problem}")]
pub struct InvalidRoutes {
    /// What is wrong: a key, or a file.
    pub key: String,
    /// What is wrong with it and what would be right, behind the key in a sentence.
    pub problem: String,
}

impl InvalidRoutes {
    /// What is wrong with `key`.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// Routes and upstreams, beside those that the gateway was built with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSettings {
    /// The upstreams that are added.
    pub upstreams: BTreeMap<UpstreamName, UpstreamSettings>,
    /// The first that matches a call holds.
    pub rules: Vec<Arc<Rule>>,
}

impl RouteSettings {
    /// Whether `upstream` is asked for its contracts, at `target`.
    pub fn asks(&self, upstream: &UpstreamName, target: &str) -> bool {
        self.upstreams.get(upstream).is_some_and(|settings| settings.learns() && settings.target == target)
    }
}

/// An upstream that is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Where it is, as a gRPC target.
    pub target: String,
    /// Who says what its methods are.
    pub contracts: ContractsFrom,
    /// The services of it that are offered; none: all that the contracts have.
    pub services: BTreeSet<String>,
    /// Whom methods admit, by `package.Service` or `package.Service/Method`.
    pub access: BTreeMap<String, Admits>,
    /// How the paths begin that its methods may have over HTTP, `/weather/v1/`; `None`: a file of contracts may say any that isn't
    /// the shop's, and the upstream itself none.
    pub http_paths: Option<BTreeSet<String>>,
    /// Whether its servers are asked for their health (`grpc.health.v1`); else they are healthy while they are connected.
    pub checks_health: bool,
}

impl UpstreamSettings {
    /// Whom the method admits by these settings, of which the most exact name holds.
    pub fn access_of(&self, service: &str, method: &str) -> Option<&Admits> {
        self.access.get(&format!("{service}/{method}")).or_else(|| self.access.get(service))
    }

    /// Whether its methods may have a path of HTTP whose first segments are these texts; behind them anything may stand.
    pub fn has_http_path(&self, beginning: &[&str]) -> bool {
        let Some(prefixes) = &self.http_paths else { return self.contracts == ContractsFrom::File };
        prefixes.iter().any(|prefix| {
            let mut segments = beginning.iter();
            prefix.split('/').filter(|segment| !segment.is_empty()).all(|segment| segments.next() == Some(&segment))
        })
    }

    /// Whether it says itself what its methods are.
    pub fn learns(&self) -> bool {
        self.contracts == ContractsFrom::Reflection
    }

    /// Whether one of its services that has this name is offered.
    pub fn offers(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }

    /// The services that it offers by these settings alone: those of `services`, else those that `access` names.
    pub fn named_services(&self) -> BTreeSet<&str> {
        if self.services.is_empty() {
            return self.access.keys().map(|name| service_of(name)).collect();
        }
        self.services.iter().map(String::as_str).collect()
    }
}

/// The service that a name of one, or of a method of it, begins with.
pub(super) fn service_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(service, _)| service)
}

/// Who says what the methods of an upstream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractsFrom {
    /// A file of the configuration, whose options may say whom methods admit.
    File,
    /// The upstream itself, by reflection. It has no say in whom methods admit.
    Reflection,
    /// Nobody: it offers no services of its own, and is there for those of others.
    Nowhere,
}

/// Whom a method admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Everybody, with or without a token.
    Anyone,
    /// Every account.
    SignedIn,
    /// Accounts of these kinds.
    Kinds(BTreeSet<CallerKind>),
}

/// A kind of account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerKind {
    /// A customer of the shop.
    Customer,
    /// Somebody who runs it.
    Staff,
    /// Another service.
    Service,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_name_says_whom_a_method_admits() {
        let access =
            [("w.Weather", Admits::Anyone), ("w.Weather/Report", Admits::SignedIn), ("w.Tides/Get", Admits::Anyone)];
        let upstream = UpstreamSettings {
            target: String::new(),
            contracts: ContractsFrom::Reflection,
            services: BTreeSet::new(),
            access: access.map(|(name, admits)| (name.to_owned(), admits)).into(),
            http_paths: None,
            checks_health: true,
        };
        assert_eq!(upstream.access_of("w.Weather", "Report"), Some(&Admits::SignedIn));
        assert_eq!(upstream.access_of("w.Weather", "Get"), Some(&Admits::Anyone));
        assert_eq!(upstream.access_of("w.Tides", "Get"), Some(&Admits::Anyone));
        assert_eq!(upstream.access_of("w.Tides", "Set"), None);
        assert_eq!(upstream.access_of("w.Weath", "er"), None);
        assert_eq!(upstream.named_services(), BTreeSet::from(["w.Weather", "w.Tides"]));
        let some = UpstreamSettings { services: BTreeSet::from(["w.Tides".to_owned()]), ..upstream };
        assert_eq!(some.named_services(), BTreeSet::from(["w.Tides"]));
        assert!(some.offers("w.Tides") && !some.offers("w.Weather"));
    }

    #[test]
    fn paths_of_http_are_those_of_the_settings_or_of_a_file_of_contracts() {
        let has = |contracts, prefixes: Option<&[&str]>, beginning: &[&str]| {
            let upstream = UpstreamSettings {
                target: String::new(),
                contracts,
                services: BTreeSet::new(),
                access: BTreeMap::new(),
                http_paths: prefixes.map(|prefixes| prefixes.iter().map(|&prefix| prefix.to_owned()).collect()),
                checks_health: true,
            };
            upstream.has_http_path(beginning)
        };
        assert!(has(ContractsFrom::File, None, &["weather"]));
        assert!(!has(ContractsFrom::Reflection, None, &["weather"]));
        for contracts in [ContractsFrom::File, ContractsFrom::Reflection] {
            for prefix in ["/weather/v1", "/weather/v1/"] {
                let has = |beginning: &[&str]| has(contracts, Some(&["/tides/", prefix]), beginning);
                assert!(has(&["weather", "v1"]) && has(&["weather", "v1", "cities"]) && has(&["tides"]), "{prefix}");
                assert!(!has(&["weather"]) && !has(&["weather", "v10"]) && !has(&["v1"]) && !has(&[]), "{prefix}");
            }
            assert!(has(contracts, Some(&["/"]), &[]) && !has(contracts, Some(&[]), &["weather"]));
        }
    }
}

//! Whether what stands in the file can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::document::{Caller, Document, HeaderValue, MirrorTable, RouteTable, Sticky, TargetTable, UpstreamTable};
use crate::adapters::contracts::shown;
use crate::domain::{
    Admits, CallerKind, ContractsFrom, HeaderCondition, HeaderMatch, InvalidRoutes, MirrorRule, Percent, RouteSettings,
    Rule, SERVICE, Share, Upstream, UpstreamName, UpstreamSettings, Weighted,
};

const MAX_UPSTREAMS: usize = 64;
const MAX_ROUTES: usize = 1_000;
/// Of one upstream.
const MAX_SERVICES: usize = 256;
const MAX_ACCESS: usize = 1_000;
const MAX_PATHS: usize = 64;
/// Of one route.
const MAX_TARGETS: usize = 16;
const MAX_HEADERS: usize = 16;
const MAX_MIRRORS: usize = 4;
const MAX_WEIGHT: u32 = 1_000_000;
/// The most bytes of a name of gRPC, and of a header's name or value.
const MAX_NAME: usize = 256;

/// Headers that routes can't ask for: who knows a credential is told by its check, and not by where calls go; the others are of
/// the connection, or said to the gateway alone, and are gone when calls are looked at.
const TAKEN: [&str; 13] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "connection",
    "host",
    "keep-alive",
    SERVICE,
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
];

type Checked<T> = Result<T, InvalidRoutes>;

fn wrong<T>(key: impl Into<String>, problem: impl Into<String>) -> Checked<T> {
    Err(InvalidRoutes::new(key, problem))
}

/// Whether there are so many of something at most.
fn at_most(key: &str, number: usize, max: usize) -> Checked<()> {
    if number > max { wrong(key, format!("has {number} entries; at most {max} are taken")) } else { Ok(()) }
}

/// A file of descriptors.
pub(super) struct DescriptorsFile {
    pub path: PathBuf,
    /// Whether it says if the upstream is asked for its health.
    pub tells_health: bool,
}

impl Document {
    /// What the file says, and the files of descriptors that it names.
    pub(super) fn check(self) -> Checked<(RouteSettings, BTreeMap<UpstreamName, DescriptorsFile>)> {
        at_most("upstreams", self.upstreams.len(), MAX_UPSTREAMS)?;
        at_most("routes", self.routes.len(), MAX_ROUTES)?;
        let (mut settings, mut files) = (RouteSettings::default(), BTreeMap::new());
        for (name, table) in self.upstreams {
            let Some(upstream) = UpstreamName::new(&name) else {
                let name = shown(name);
                let problem = format!("has the name {name:?}; names are 1 to 63 of a-z, 0-9 and -, a letter first");
                return wrong("upstreams", problem);
            };
            if Upstream::ALL.iter().any(|own| own.as_str() == name) {
                let problem = format!("is the shop's own: set `gateway.upstreams.{name}`, or choose another name");
                return wrong(format!("upstreams.{name}"), problem);
            }
            let file = |path| DescriptorsFile { path, tells_health: table.health.is_none() };
            files.extend(table.descriptors.clone().map(|path| (upstream.clone(), file(path))));
            settings.upstreams.insert(upstream, table.check(&format!("upstreams.{name}"))?);
        }
        for (at, table) in self.routes.into_iter().enumerate() {
            settings.rules.push(Arc::new(table.check(&format!("routes[{at}]"))?));
        }
        Ok((settings, files))
    }
}

impl UpstreamTable {
    fn check(self, key: &str) -> Checked<UpstreamSettings> {
        at_most(&format!("{key}.services"), self.services.len(), MAX_SERVICES)?;
        at_most(&format!("{key}.access"), self.access.len(), MAX_ACCESS)?;
        if let Some(service) = self.services.iter().find(|service| !is_service(service)) {
            return wrong(format!("{key}.services"), no_service(service));
        }
        let mut access = BTreeMap::new();
        for (name, callers) in self.access {
            let (service, method) = name.split_once('/').unwrap_or((name.as_str(), "Any"));
            if !is_service(service) || !is_word(method) {
                let problem = format!("has {:?}; names are package.Service or package.Service/Method", shown(&name));
                return wrong(format!("{key}.access"), problem);
            }
            if callers.is_empty() {
                let problem = format!(
                    "says nobody for {name}; leave it out, or name anyone, signed_in, customer, staff or service"
                );
                return wrong(format!("{key}.access"), problem);
            }
            access.insert(name, admits(&callers));
        }
        let paths = self.http_paths.as_deref().unwrap_or_default();
        at_most(&format!("{key}.http_paths"), paths.len(), MAX_PATHS)?;
        if let Some(path) = paths.iter().find(|path| !is_beginning(path)) {
            let problem = format!(
                "has {:?}, which is no beginning of paths, such as /weather/v1/, without wildcards",
                shown(path)
            );
            return wrong(format!("{key}.http_paths"), problem);
        }
        let http_paths = self.http_paths.map(BTreeSet::from_iter);
        let services: BTreeSet<_> = self.services.into_iter().collect();
        let contracts = match self.descriptors {
            Some(_) => ContractsFrom::File,
            None if services.is_empty() && access.is_empty() => ContractsFrom::Nowhere,
            None => ContractsFrom::Reflection,
        };
        if contracts == ContractsFrom::Reflection
            && let Some(service) = services.iter().find(|service| !has_access(&access, service))
        {
            let problem = format!(
                "says nothing of {service}, so that nobody may call it: name its callers, or set `descriptors` to a file whose \
                 options do"
            );
            return wrong(format!("{key}.access"), problem);
        }
        let checks_health = self.health.unwrap_or(contracts == ContractsFrom::Nowhere);
        Ok(UpstreamSettings { target: self.target, contracts, services, access, http_paths, checks_health })
    }
}

fn has_access(access: &BTreeMap<String, Admits>, service: &str) -> bool {
    access.keys().any(|name| name.split_once('/').map_or(name.as_str(), |(own, _)| own) == service)
}

/// Whom one of `callers` is enough for.
fn admits(callers: &[Caller]) -> Admits {
    if callers.contains(&Caller::Anyone) {
        return Admits::Anyone;
    }
    if callers.contains(&Caller::SignedIn) {
        return Admits::SignedIn;
    }
    let kind = |caller: &Caller| match caller {
        Caller::Anyone | Caller::SignedIn => None,
        Caller::Customer => Some(CallerKind::Customer),
        Caller::Staff => Some(CallerKind::Staff),
        Caller::Service => Some(CallerKind::Service),
    };
    Admits::Kinds(callers.iter().filter_map(kind).collect())
}

impl RouteTable {
    fn check(self, key: &str) -> Checked<Rule> {
        if !is_service(&self.service) {
            return wrong(format!("{key}.service"), no_service(&self.service));
        }
        if let Some(method) = self.method.as_ref().filter(|method| !is_word(method)) {
            let problem = format!("is {:?}, which is no name of a method, such as GetOrder", shown(method));
            return wrong(format!("{key}.method"), problem);
        }
        at_most(&format!("{key}.headers"), self.headers.len(), MAX_HEADERS)?;
        let headers = self.headers.into_iter().map(|(name, value)| header(&format!("{key}.headers"), name, value));
        let headers = headers.collect::<Checked<_>>()?;
        if self.to.is_none() && self.mirror.is_empty() {
            return wrong(format!("{key}.to"), "is not set; name who answers, such as [{ upstream = \"orders\" }]");
        }
        if self.to.is_none() && self.sticky.is_some() {
            return wrong(format!("{key}.sticky"), "is set without `to`, of which it would choose; leave it out");
        }
        at_most(&format!("{key}.mirror"), self.mirror.len(), MAX_MIRRORS)?;
        let mirror = |(at, table): (usize, MirrorTable)| table.check(&format!("{key}.mirror[{at}]"));
        Ok(Rule {
            service: self.service,
            method: self.method,
            headers,
            to: self.to.map(|to| weighted(&format!("{key}.to"), to)).transpose()?,
            sticky: self.sticky == Some(Sticky::Caller),
            mirrors: self.mirror.into_iter().enumerate().map(mirror).collect::<Checked<_>>()?,
        })
    }
}

fn weighted(key: &str, to: Vec<TargetTable>) -> Checked<Weighted> {
    at_most(key, to.len(), MAX_TARGETS)?;
    let mut shares: Vec<Share> = Vec::new();
    for (at, TargetTable { upstream, weight }) in to.into_iter().enumerate() {
        let upstream = upstream_of(&format!("{key}[{at}]"), &upstream)?;
        if shares.iter().any(|share| share.upstream == upstream) {
            return wrong(format!("{key}[{at}].upstream"), format!("is {upstream} again; give it one weight"));
        }
        if weight > MAX_WEIGHT {
            return wrong(format!("{key}[{at}].weight"), format!("is {weight}; at most {MAX_WEIGHT} is taken"));
        }
        shares.push(Share { upstream, weight });
    }
    let none =
        || InvalidRoutes::new(key, "has no weight above 0, so that nobody answers; name an upstream with a weight");
    Weighted::new(shares).ok_or_else(none)
}

impl MirrorTable {
    fn check(self, key: &str) -> Checked<MirrorRule> {
        let upstream = upstream_of(key, &self.upstream)?;
        let Some(percent) = Percent::new(self.percent) else {
            return wrong(format!("{key}.percent"), format!("is {}; it must be 0 to 100", self.percent));
        };
        let Self { keep_authorization, side_effects, .. } = self;
        Ok(MirrorRule { upstream, percent, keep_authorization, side_effects })
    }
}

fn upstream_of(key: &str, name: &str) -> Checked<UpstreamName> {
    let none = || {
        let problem = format!("is {:?}, which is no name of an upstream; those are a-z, 0-9 and -", shown(name));
        InvalidRoutes::new(format!("{key}.upstream"), problem)
    };
    UpstreamName::new(name).ok_or_else(none)
}

fn header(key: &str, name: String, value: HeaderValue) -> Checked<HeaderCondition> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(fits) {
        return wrong(key, format!("has {:?}; names of headers are a-z, 0-9, -, _ and .", shown(&name)));
    }
    let is_taken = TAKEN.contains(&name.as_str()) || name.starts_with("grpc-") || name.ends_with("-bin");
    if is_taken {
        return wrong(
            key,
            format!("has {name}, by which calls can't be chosen; take a header of your own, such as x-canary"),
        );
    }
    let value = match value {
        HeaderValue::Exact(text) => HeaderMatch::Exact(text),
        HeaderValue::Prefix(text) => HeaderMatch::Prefix(text),
        HeaderValue::Present(there) => HeaderMatch::Present(there),
    };
    if let HeaderMatch::Exact(text) | HeaderMatch::Prefix(text) = &value {
        let is_value = text.len() <= MAX_NAME && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !is_value || text.trim() != text || text.is_empty() {
            let problem = "must have 1 to 256 visible characters of ASCII, and no space around them";
            return wrong(format!("{key}.{name}"), problem);
        }
    }
    Ok(HeaderCondition { name, value })
}

fn no_service(name: &str) -> String {
    format!("has {:?}, which is no full name of a service, such as shop.orders.v1.OrderService", shown(name))
}

/// Whether a text is a service's full name.
fn is_service(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(is_word)
}

/// Whether paths of HTTP may begin with a text: with a slash, and whole segments of plain text behind it.
fn is_beginning(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_plain);
    let Some(rest) = path.strip_prefix('/') else { return false };
    path.len() <= MAX_NAME && (rest.is_empty() || rest.strip_suffix('/').unwrap_or(rest).split('/').all(is_segment))
}

/// Whether a text is a name in a `.proto` file.
fn is_word(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.len() <= MAX_NAME && name.bytes().all(fits) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

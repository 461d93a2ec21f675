//! The routes of the proxy: by the contracts and the configuration, and by what callers name.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::request::Parts;
use meshwork::server::CLIENT_ADDRESS;
use meshwork::server::auth::Principal;
use meshwork::server::proxy::{self, Mirror, Routes};
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use super::access::RecordLink;
use super::errors::{contracts_pending, method_unknown, of_mesh, service_required, upstream_unavailable};
use super::exchange::API_KEY;
use crate::domain::{MethodRoute, PlannedRule, RouteTable, SERVICE, UpstreamName};

/// What calls go by at a moment.
#[derive(Default)]
pub(super) struct Snapshot {
    pub table: Arc<RouteTable>,
    pub upstreams: HashMap<UpstreamName, proxy::Upstream>,
}

/// Passes on what is for the services behind the gateway. Clones go by the same routes.
#[derive(Clone, Default)]
pub struct ServiceRoutes(Arc<ArcSwap<Snapshot>>);

impl ServiceRoutes {
    /// Calls that begin from now on go by `snapshot`.
    pub(super) fn replace(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }

    /// Whether there is a service or a method of this name, `package.Service` or `package.Service/Method`, or may be once its upstream
    /// has told its contracts.
    pub fn knows(&self, name: &str) -> bool {
        let snapshot = self.0.load();
        let path = format!("/{name}");
        if name.contains('/') {
            snapshot.table.find(&path).is_some() || snapshot.table.pending(&path).is_some()
        } else {
            snapshot.table.services().any(|(service, _)| service == name)
        }
    }
}

impl Routes for ServiceRoutes {
    fn has(&self, path: &str) -> bool {
        self.0.load().table.find(path).is_some()
    }

    fn route(&self, head: &mut Parts) -> Result<proxy::Route, Status> {
        let snapshot = self.0.load();
        let method = snapshot.find(head.uri.path())?;
        let named = head.headers.get_all(SERVICE).iter().map(HeaderValue::as_bytes);
        let chosen = method.route.choose(named).ok_or_else(|| service_required(&method.route.upstreams))?;
        // It was said to the gateway.
        head.headers.remove(SERVICE);
        // Its token goes on in its place, if it was taken; in any case it is not the upstream's to know.
        head.headers.remove(API_KEY);
        let values = |name: &str| head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let planned = method.rules.iter().find(|planned| planned.rule.matches(values));
        let chosen = planned.and_then(|planned| pick(planned, head)).unwrap_or(chosen);
        let upstream = snapshot.upstream(chosen)?;
        if let Some(record) = head.extensions.get::<RecordLink>() {
            record.passed_to(upstream.name());
        }
        let route = proxy::Route::to(upstream);
        let mirrors = planned.into_iter().flat_map(|planned| &planned.mirrors);
        Ok(mirrors.filter(|mirror| mirror.percent.has(fastrand::u64(..))).fold(route, |route, mirror| {
            let Some(upstream) = snapshot.upstreams.get(&mirror.upstream) else { return route };
            let copy = Mirror::to(upstream.clone());
            route.mirror(if mirror.keep_authorization { copy.keep_authorization() } else { copy })
        }))
    }

    fn failed(&self, upstream: &proxy::Upstream, code: Code) -> Status {
        of_mesh(upstream.name(), code)
    }
}

impl Snapshot {
    fn find(&self, path: &str) -> Result<&MethodRoute, Status> {
        self.table.find(path).ok_or_else(|| refusal(&self.table, path))
    }

    fn upstream(&self, name: &UpstreamName) -> Result<proxy::Upstream, Status> {
        self.upstreams.get(name).cloned().ok_or_else(|| upstream_unavailable(name.as_str()))
    }
}

/// What a call gets whose method has no route.
pub(super) fn refusal(table: &RouteTable, path: &str) -> Status {
    match table.pending(path) {
        Some(upstream) => contracts_pending(upstream.as_str()),
        None => method_unknown(path),
    }
}

/// Where a call goes by a rule; `None` where it goes without one.
fn pick<'p>(planned: &'p PlannedRule, head: &Parts) -> Option<&'p UpstreamName> {
    let to = planned.rule.to.as_ref()?;
    to.pick(if planned.rule.sticky { point_of_caller(head) } else { fastrand::u64(..) })
}

/// A point that a caller has in all routes, at all gateways: its account's, or its address's.
fn point_of_caller(head: &Parts) -> u64 {
    let address = || head.headers.get(CLIENT_ADDRESS).map(HeaderValue::as_bytes).unwrap_or_default();
    let caller = head.extensions.get::<Principal>().map(|principal| principal.subject().as_bytes());
    let digest = Sha256::digest(caller.unwrap_or_else(address));
    digest.iter().take(8).fold(0, |point, byte| (point << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(subject: Option<&str>, address: &'static str) -> u64 {
        let mut request = http::Request::new(());
        request.headers_mut().insert(CLIENT_ADDRESS, HeaderValue::from_static(address));
        if let Some(subject) = subject {
            request.extensions_mut().insert(Principal::new(subject, ["customer"]));
        }
        point_of_caller(&request.into_parts().0)
    }

    #[test]
    fn a_caller_has_a_point_by_its_account_or_by_its_address() {
        assert_eq!(point(Some("users/anna"), "192.0.2.1"), point(Some("users/anna"), "192.0.2.2"));
        assert_ne!(point(Some("users/anna"), "192.0.2.1"), point(Some("users/bert"), "192.0.2.1"));
        assert_eq!(point(None, "192.0.2.1"), point(None, "192.0.2.1"));
        assert_ne!(point(None, "192.0.2.1"), point(None, "192.0.2.2"));
        // It stays over releases, so that nobody's calls wander: the first bytes of a SHA-256.
        assert_eq!(point(Some("users/anna"), "192.0.2.1"), 0xf249_cf25_f7a4_44fa);
    }

    #[test]
    fn the_points_of_callers_lie_everywhere() {
        let low = (0..1_000).filter(|at| point(Some(&format!("users/{at}")), "192.0.2.1") < u64::MAX / 10).count();
        assert!((70..=130).contains(&low), "{low} of 1,000 in the first tenth");
    }
}

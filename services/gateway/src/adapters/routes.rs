//! The routes of the proxy: by the contracts, and by what callers name.

use std::collections::HashMap;

use http::HeaderValue;
use http::request::Parts;
use meshwork::Channel;
use meshwork::server::proxy::{self, Routes};
use tonic::{Code, Status};

use super::access::RecordLink;
use super::errors::{method_unknown, of_mesh, service_required, upstream_unavailable};
use super::exchange::API_KEY;
use crate::app::App;
use crate::domain::{SERVICE, Upstream};

/// The channels to the upstreams.
pub type Channels = HashMap<Upstream, Channel>;

/// Passes on what is for the services behind the gateway.
pub struct ServiceRoutes {
    app: App,
    upstreams: HashMap<Upstream, proxy::Upstream>,
}

impl ServiceRoutes {
    /// The routes of `app` over `channels`.
    pub fn new(app: App, channels: Channels) -> Self {
        let named = |(upstream, channel): (Upstream, _)| (upstream, proxy::Upstream::new(upstream.as_str(), channel));
        Self { app, upstreams: channels.into_iter().map(named).collect() }
    }
}

impl Routes for ServiceRoutes {
    fn has(&self, path: &str) -> bool {
        self.app.find_route(path).is_some()
    }

    fn route(&self, head: &mut Parts) -> Result<proxy::Route, Status> {
        let path = head.uri.path();
        let route = self.app.find_route(path).ok_or_else(|| method_unknown(path))?;
        let named = head.headers.get_all(SERVICE).iter().map(HeaderValue::as_bytes);
        let chosen = route.choose(named).ok_or_else(|| service_required(route.upstreams))?;
        // It was said to the gateway.
        head.headers.remove(SERVICE);
        // Its token goes on in its place, if it was taken; in any case it is not the upstream's to know.
        head.headers.remove(API_KEY);
        let upstream = self.upstreams.get(&chosen).ok_or_else(|| upstream_unavailable(chosen.as_str()))?;
        if let Some(record) = head.extensions.get::<RecordLink>() {
            record.passed_to(upstream.name());
        }
        Ok(proxy::Route::to(upstream.clone()))
    }

    fn failed(&self, upstream: &proxy::Upstream, code: Code) -> Status {
        of_mesh(upstream.name(), code)
    }
}

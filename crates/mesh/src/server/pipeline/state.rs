//! What the calls of a server go through, and have in common.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::server::Domain;
use crate::server::auth::Authenticator;
use crate::server::budget::Budgets;
use crate::server::call_observer::CallObserver;
use crate::server::client_address::TrustedProxies;
use crate::server::http::HttpService;
use crate::server::plan::{CurrentPlans, Plans};
use crate::server::rate::RateLimits;
use crate::server::router::Router;

/// What the calls of a server go through.
pub(in crate::server) struct Pipeline {
    pub plans: CurrentPlans,
    pub domain: Domain,
    pub observers: Vec<Arc<dyn CallObserver>>,
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// How long the authenticator may take, whatever the call's deadline.
    pub verification_timeout: Duration,
    pub by_address: Option<RateLimits>,
    /// Whether `by_address` counts the calls that are refused, and not all.
    pub counts_refusals: bool,
    pub by_principal: Option<RateLimits>,
    /// Whether one of these says in answers what is left of it.
    pub reports_limits: bool,
    /// Of reflection's messages.
    pub reflection: Option<RateLimits>,
    pub budgets: Budgets,
    /// Whose word counts for the addresses of callers, where it is asked for.
    pub trusted: Option<TrustedProxies>,
    /// How many streams of health and reflection a connection may have open.
    pub watches_of_connection: usize,
    /// The largest headers of a call, in bytes.
    pub max_header_list: usize,
    /// How long a client may take to read a byte of its answer.
    pub slow_reader: Duration,
    /// Who answers what is no gRPC; `None`: nobody.
    pub http: Option<Arc<HttpRequests>>,
    /// Streams are ended then.
    pub stopping: CancellationToken,
}

/// Who answers requests that are no gRPC, and what their bodies are held to.
pub(in crate::server) struct HttpRequests {
    pub service: Arc<dyn HttpService>,
    /// How long the first byte of a body may take.
    pub first_byte: Duration,
    /// How many bytes of a body count while there is more to come.
    pub counted: usize,
}

/// What a call of a health port is held to.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct HealthPortBounds {
    /// The most bytes of its message.
    pub max_message: usize,
    /// How long that may take.
    pub first_message: Duration,
    /// How many watches its connection may have.
    pub watches_of_connection: usize,
    /// The most bytes of its headers.
    pub max_header_list: usize,
    /// How long its client may take to read a byte of the answer.
    pub slow_reader: Duration,
}

impl Pipeline {
    /// What the calls of a health port go through: it knows no callers.
    pub(in crate::server) fn health_port(
        router: Router,
        bounds: HealthPortBounds,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            plans: CurrentPlans::fixed(Plans::of_routes(router, bounds.first_message, bounds.max_message)),
            domain: Domain::default(),
            observers: Vec::new(),
            authenticator: None,
            verification_timeout: Duration::ZERO,
            by_address: None,
            counts_refusals: false,
            by_principal: None,
            reports_limits: false,
            reflection: None,
            budgets: Budgets::default(),
            trusted: None,
            watches_of_connection: bounds.watches_of_connection,
            max_header_list: bounds.max_header_list,
            slow_reader: bounds.slow_reader,
            http: None,
            stopping,
        }
    }
}

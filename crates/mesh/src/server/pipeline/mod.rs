//! The pipeline: what every call of a server goes through, in one order that is written in one place.
//!
//! A call is one future, with one context, its connection's, and one plan, its method's: found once, by its path. Its answer has
//! one body. What holds places (a call in flight, a stream) holds them to the last byte of the answer.

mod answer;
mod bounded;
mod call;
mod calls;
mod context;
mod end;
mod guard;
mod handlers;
mod reflection;
mod request;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(super) use self::calls::ConnectionCalls;
pub(super) use self::context::ConnectionContext;
pub(super) use self::handlers::{HandlerService, Handlers};
use super::Domain;
use super::auth::Authenticator;
use super::budget::Budgets;
use super::call_observer::CallObserver;
use super::plan::Plans;
use super::rate::RateLimits;
use super::router::Router;

/// How long a client of a health port may take to read an answer.
const HEALTH_READER: Duration = Duration::from_secs(10);

/// What the calls of a server go through.
pub(super) struct Pipeline {
    pub plans: Plans,
    pub domain: Domain,
    pub observer: Option<Arc<dyn CallObserver>>,
    pub authenticator: Option<Arc<dyn Authenticator>>,
    pub by_address: Option<RateLimits>,
    /// Whether `by_address` counts the calls that are refused, and not all.
    pub counts_refusals: bool,
    pub by_principal: Option<RateLimits>,
    /// Of reflection's messages.
    pub reflection: Option<RateLimits>,
    pub budgets: Budgets,
    /// The largest headers of a call, in bytes.
    pub max_header_list: usize,
    /// How long a client may take to read a byte of its answer.
    pub slow_reader: Duration,
    /// Streams are ended then.
    pub stopping: CancellationToken,
}

impl Pipeline {
    /// What the calls of a health port go through: nobody is known there, and messages are small.
    pub(super) fn health_port(
        router: &Router,
        max_message: usize,
        first_message: Duration,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            plans: Plans::of_routes(router, first_message, max_message),
            domain: Domain::default(),
            observer: None,
            authenticator: None,
            by_address: None,
            counts_refusals: false,
            by_principal: None,
            reflection: None,
            budgets: Budgets::default(),
            max_header_list: usize::MAX,
            slow_reader: HEALTH_READER,
            stopping,
        }
    }

    /// The limit of reflection's messages.
    pub(super) fn reflection_limits(domain: Domain) -> Option<RateLimits> {
        reflection::limits(domain)
    }
}

//! Reflection is counted by its messages: one call could ask for descriptors without end otherwise.

use std::sync::Arc;

use http::HeaderMap;
use tonic::Status;

use super::context::ConnectionContext;
use super::origin::CallOrigin;
use crate::server::Domain;
use crate::server::rate::{EventualDecision, Key, Rate, RateLimitLayer, RateLimiter, RateLimits, Rule};
use crate::server::request_size::MessageRule;

/// The limit of reflection's messages, by address.
pub(in crate::server) fn reflection_limits(rate: Rate, domain: Domain) -> Option<RateLimits> {
    let rule = Rule::new("reflection", rate).key(Key::Address);
    RateLimitLayer::new(RateLimiter::in_process(), [rule], domain).limits().cloned()
}

/// A token of the limit for each message.
pub(super) struct ReflectionRule {
    pub connection: Arc<ConnectionContext>,
    pub origin: CallOrigin,
}

impl MessageRule for ReflectionRule {
    fn begins(&self) -> Result<(), Status> {
        let Some(limits) = &self.connection.pipeline.reflection else { return Ok(()) };
        let peer = Some(self.origin.peer(&self.connection));
        let Some(wants) = limits.wants_of(&[0], peer, None, &HeaderMap::new(), "") else { return Ok(()) };
        match limits.ask(&wants) {
            EventualDecision::Now(decision) => limits.refusal(decision, &wants).map_or(Ok(()), Err),
            // Buckets in the process decide at once.
            EventualDecision::Later(_) => Ok(()),
        }
    }
}

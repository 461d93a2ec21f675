//! Resolvers: how a target becomes endpoints, now and while the channel lives.

mod dns;
mod families;
mod fixed;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod refresher;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use dns::Dns;
pub use fixed::Static;
#[cfg(feature = "kubernetes")]
pub use kubernetes::{Kubernetes, ServiceError};
pub(crate) use refresher::Refresher;
pub use target::{Target, TargetError};

use async_trait::async_trait;

use crate::client::endpoint::Endpoint;

/// What a resolution found.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// The servers; none is an answer too.
    pub endpoints: Vec<Endpoint>,
    /// How long the answer is good; the channel asks again then. Below 1 s it counts as 1 s. `None`: until something
    /// fails.
    pub ttl: Option<Duration>,
    /// A service config that came with the addresses, as JSON; it takes the place of the channel's default (gRFC A21).
    pub service_config: Option<Arc<str>>,
}

impl Resolution {
    /// Endpoints that are good until something fails.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, ttl: None, service_config: None }
    }
}

/// A name that could not be resolved.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    message: Arc<str>,
}

impl ResolveError {
    /// With a message for the caller, who sees it in the status of the calls that wait for addresses.
    pub fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into() }
    }
}

/// Finds the endpoints of a target.
///
/// The channel asks at its start, when a TTL has passed, and when connections fail (at most every 30 s); it keeps the last
/// good answer while a resolver fails. A resolver that is told of changes implements [`Resolver::changed`] too.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// The endpoints as they are now.
    ///
    /// # Errors
    /// When they can't be found out; the channel asks again with backoff.
    async fn resolve(&self) -> Result<Resolution, ResolveError>;

    /// Resolves when the answer may have changed since the last [`Resolver::resolve`]. Never, unless implemented.
    async fn changed(&self) {
        std::future::pending().await
    }
}

//! What a picker chooses from.

use std::fmt;
use std::sync::Arc;

use super::load::Load;
use crate::client::endpoint::Endpoint;

/// An endpoint that can take calls, and how busy it is.
#[derive(Clone)]
pub struct Candidate {
    endpoint: Arc<Endpoint>,
    load: Arc<Load>,
}

impl Candidate {
    /// An endpoint with its load, for tests of pickers; a channel makes its own.
    pub fn new(endpoint: impl Into<Arc<Endpoint>>, load: impl Into<Arc<Load>>) -> Self {
        Self { endpoint: endpoint.into(), load: load.into() }
    }

    /// The endpoint as the resolver gave it: addresses, weight, zone, attributes.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its calls in flight, its latency and its rate of failure.
    pub fn load(&self) -> &Load {
        &self.load
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} in flight)", self.endpoint, self.load.in_flight())
    }
}

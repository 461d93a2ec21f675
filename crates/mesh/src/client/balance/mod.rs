//! Balancers: which of the endpoints that are ready takes a call.
//!
//! The channel keeps a snapshot of the endpoints that can take calls and hands it to the [`Picker`]: a pick takes no lock
//! and allocates nothing. Connections, health, outliers and circuit breakers decide what is in the snapshot; a picker
//! only chooses from it.

mod least_request;
mod load;
mod peak_ewma;
mod round_robin;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

pub use least_request::LeastRequest;
pub use load::Load;
pub use peak_ewma::PeakEwma;
pub use round_robin::RoundRobin;

use crate::client::endpoint::Endpoint;

/// What a picker may know of a call.
#[derive(Clone, Copy, Debug)]
pub struct PickArgs<'a> {
    /// The method, `/package.Service/Method`.
    pub method: &'a str,
    /// The call's metadata.
    pub headers: &'a HeaderMap,
    /// The time of the pick.
    pub now: Instant,
}

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

    /// Its calls in flight and its latency.
    pub fn load(&self) -> &Load {
        &self.load
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} in flight)", self.endpoint, self.load.in_flight())
    }
}

/// Chooses the endpoint of a call. Implement it for a policy of one's own, and give it to
/// `Builder::picker`.
///
/// ```
/// use meshwork::balance::{Candidate, PickArgs, Picker};
///
/// /// All calls to the first endpoint of the own zone, as long as there is one.
/// struct SameZone(String);
///
/// impl Picker for SameZone {
///     fn pick(&self, _call: &PickArgs<'_>, ready: &[Candidate]) -> usize {
///         ready.iter().position(|candidate| candidate.endpoint().get_zone() == Some(&self.0)).unwrap_or(0)
///     }
/// }
/// ```
pub trait Picker: Send + Sync + 'static {
    /// The index of the endpoint to use, in `ready`, which is never empty; one beyond it wraps around. Called for each
    /// attempt, from many threads at once: it must not block. When the endpoint can't take the call after all, the next
    /// one in order is tried.
    fn pick(&self, call: &PickArgs<'_>, ready: &[Candidate]) -> usize;

    /// A picker for another set of endpoints, for policies that prepare something for a set. `None`, unless
    /// implemented: this one goes on.
    fn rebuild(&self, _ready: &[Candidate]) -> Option<Arc<dyn Picker>> {
        None
    }
}

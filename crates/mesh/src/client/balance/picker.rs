//! The seam for policies of one's own.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;

use super::candidate::Candidate;

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
    /// attempt, from many threads at once: it must not block.
    ///
    /// The choice stands for each first attempt whose endpoint has a place for it. A further attempt goes elsewhere when the
    /// call has been to that endpoint before, or when half of what that endpoint got of late failed. The attempt then goes
    /// to an endpoint that the call has not been to, by expected cost: latency times calls in flight over weight, the more
    /// the higher the rate of failure; with many endpoints the least of sixteen, from the choice on.
    fn pick(&self, call: &PickArgs<'_>, ready: &[Candidate]) -> usize;

    /// A picker for another set of endpoints, for policies that prepare something for a set. `None`, unless
    /// implemented: this one goes on.
    fn rebuild(&self, _ready: &[Candidate]) -> Option<Arc<dyn Picker>> {
        None
    }
}

//! Where a proxy passes calls on to.

use std::sync::Arc;

use http::request::Parts;
use tonic::{Code, Status};

use crate::client::channel::Channel;

/// The routes of a proxy, and what callers are told where one fails.
pub trait Routes: Send + Sync + 'static {
    /// Whether the method at `path`, `/package.Service/Method`, has a route: asked once for a method that is known at
    /// the start, and for others as they come.
    fn has(&self, path: &str) -> bool;

    /// Chooses the route of a call by its head. Called once for each call; what it changes of the metadata is what the
    /// upstream gets, and the path is the upstream's method. Headers that belong to the caller's connection are gone
    /// already.
    ///
    /// # Errors
    /// The status that the call is answered with where it has no route.
    fn route(&self, head: &mut Parts) -> Result<Route, Status>;

    /// What a caller gets for a call that `upstream` didn't answer, or broke off: the mesh failed it with `code`, which
    /// is `Unknown` for an answer that ended without a status. Whatever more the mesh knows is not for callers, such as
    /// addresses.
    ///
    /// Unless implemented: DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED as they are, UNAVAILABLE for all others, each with
    /// the name of the upstream.
    fn failed(&self, upstream: &Upstream, code: Code) -> Status {
        let name = upstream.name();
        match code {
            Code::DeadlineExceeded => Status::deadline_exceeded(format!("{name} didn't answer in time")),
            Code::ResourceExhausted => {
                Status::resource_exhausted(format!("the call to {name}, or its answer, is beyond a limit"))
            }
            _ => Status::unavailable(format!("{name} doesn't answer at this moment")),
        }
    }
}

/// The route of one call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Route {
    /// Who answers it.
    pub upstream: Upstream,
}

impl Route {
    /// To one upstream, whose answer is that of the call.
    #[must_use]
    pub fn to(upstream: Upstream) -> Self {
        Self { upstream }
    }
}

/// A server, or several of a kind, behind a proxy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    name: Arc<str>,
    channel: Channel,
}

impl Upstream {
    /// The upstream at the other end of `channel`; `name` is what callers and logs know it by.
    pub fn new(name: impl Into<Arc<str>>, channel: Channel) -> Self {
        Self { name: name.into(), channel }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The channel to it.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

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
    /// Who gets a copy of it.
    pub mirrors: Vec<Mirror>,
}

impl Route {
    /// To one upstream, whose answer is that of the call.
    #[must_use]
    pub fn to(upstream: Upstream) -> Self {
        Self { upstream, mirrors: Vec::new() }
    }

    /// Copies the call to `mirror` too. There may be several.
    #[must_use]
    pub fn mirror(mut self, mirror: Mirror) -> Self {
        self.mirrors.push(mirror);
        self
    }
}

/// Who gets copies of calls, and of their heads what. It has no say in what their callers get.
#[derive(Clone, Debug)]
pub struct Mirror {
    upstream: Upstream,
    keeps_authorization: bool,
}

impl Mirror {
    /// Copies go to `upstream`, without what their callers show who they are by: `authorization`,
    /// `proxy-authorization`, `x-api-key` and `cookie`.
    pub fn to(upstream: Upstream) -> Self {
        Self { upstream, keeps_authorization: false }
    }

    /// Copies keep their callers' credentials: for a mirror that may act in their names.
    #[must_use]
    pub fn keep_authorization(mut self) -> Self {
        self.keeps_authorization = true;
        self
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(super) fn keeps_authorization(&self) -> bool {
        self.keeps_authorization
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

//! One call on its way through a proxy, and what its caller is told when it fails.

use std::sync::Arc;

use tonic::{Code, Status};

use super::failures::FailureLog;
use super::mirror::MirroredCalls;
use super::request::RequestFailure;
use super::routes::{Routes, Upstream};
use crate::outcome::Outcome;

/// What all calls of a proxy have in common.
pub(super) struct ProxyState<R> {
    pub(super) routes: R,
    log: FailureLog,
}

impl<R> ProxyState<R> {
    pub(super) fn new(routes: R) -> Self {
        Self { routes, log: FailureLog::default() }
    }
}

/// A call that has a route.
pub(super) struct Passage<R> {
    state: Arc<ProxyState<R>>,
    upstream: Upstream,
    request: RequestFailure,
    /// They end with it, unless it ended first.
    mirrored: MirroredCalls,
}

impl<R: Routes> Passage<R> {
    pub(super) fn new(
        state: Arc<ProxyState<R>>,
        upstream: Upstream,
        request: RequestFailure,
        mirrored: MirroredCalls,
    ) -> Self {
        Self { state, upstream, request, mirrored }
    }

    /// The call has its status: who lets go of it now gives up nothing.
    pub(super) fn ended(&mut self) {
        self.mirrored.release();
    }

    /// What the caller is told for `error` of the mesh: that of its own request, if that is what failed, or what the
    /// routes say.
    pub(super) fn failed(&self, error: &Status) -> Status {
        if let Some(status) = self.request.status() {
            return status;
        }
        // What callers did, and their deadlines, are their business.
        let is_upstreams = error.code() != Code::DeadlineExceeded && Outcome::of_error(error).is_judged();
        if is_upstreams && let Some(unlogged) = self.state.log.count() {
            let (upstream, cause) = (self.upstream.name(), error.message());
            tracing::warn!(upstream, code = ?error.code(), cause, unlogged, "a call that was passed on has failed");
        }
        self.state.routes.failed(&self.upstream, error.code())
    }

    /// What the caller is told for an answer that ended without a status.
    pub(super) fn unfinished(&self) -> Status {
        self.failed(&Status::unknown("the answer ended without a status"))
    }
}

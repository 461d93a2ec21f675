//! What the calls of a connection have in common.

use std::sync::Arc;

use http::Extensions;
use tokio_util::sync::CancellationToken;

use super::state::Pipeline;
use crate::server::accept::{ConnectInfo, OpenCalls};
use crate::server::budget::Account;
use crate::server::peer::Peer;

/// The connection that a call came over.
pub(in crate::server) struct ConnectionContext {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) peer: Peer,
    info: ConnectInfo,
    /// What its address has of the budgets.
    pub(super) address: Option<Account>,
    pub(super) calls: Arc<OpenCalls>,
    /// Calls that are open then are answered with UNAVAILABLE.
    pub(super) ending: CancellationToken,
}

impl ConnectionContext {
    /// The connection of `peer`, whose address has `address`. Calls that are open at `ending` are ended.
    pub(in crate::server) fn new(
        pipeline: Arc<Pipeline>,
        peer: Peer,
        info: ConnectInfo,
        address: Option<Account>,
        calls: Arc<OpenCalls>,
        ending: CancellationToken,
    ) -> Self {
        Self { pipeline, peer, info, address, calls, ending }
    }

    /// Adds what handlers may want to know of it.
    pub(super) fn extend(&self, extensions: &mut Extensions) {
        extensions.insert(self.peer.clone());
        self.info.insert(extensions);
    }
}

//! What the calls of a connection have in common.

use std::sync::{Arc, Mutex, TryLockError};

use http::Extensions;
use tokio_util::sync::CancellationToken;

use super::state::Pipeline;
use crate::server::accept::{ConnectInfo, OpenCalls};
use crate::server::auth::Principal;
use crate::server::budget::Account;
use crate::server::client_address::ClientAddress;
use crate::server::peer::Peer;
use crate::server::plan::MethodCalls;

/// The connection that a call came over.
pub(in crate::server) struct ConnectionContext {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) peer: Peer,
    /// Whether it may name the addresses of others.
    pub(super) is_proxy: bool,
    info: ConnectInfo,
    /// What its address has of the budgets.
    pub(super) address: Option<Account>,
    /// Whoever called last and what that principal has of the budgets: most connections have one caller.
    last: Mutex<Option<(Principal, Account)>>,
    pub(super) calls: Arc<OpenCalls>,
    /// The streams that are open to everybody: health's `Watch`, and reflection.
    pub(super) watches: MethodCalls,
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
        let watches = MethodCalls::new(pipeline.watches_of_connection);
        let is_proxy = pipeline.trusted.as_ref().is_some_and(|trusted| trusted.trusts(&peer));
        Self { pipeline, peer, is_proxy, info, address, last: Mutex::default(), calls, watches, ending }
    }

    /// What `principal` has of the budgets.
    pub(super) fn account_of(&self, principal: &Principal) -> Account {
        let find = || self.pipeline.budgets.account_of_principal(principal.subject());
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            // A panic can't leave it half changed.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // It is not worth a wait.
            Err(TryLockError::WouldBlock) => return find(),
        };
        match &*last {
            Some((caller, account)) if caller.subject() == principal.subject() => account.clone(),
            _ => {
                let account = find();
                *last = Some((principal.clone(), account.clone()));
                account
            }
        }
    }

    /// Adds what handlers may want to know of it, and of the client of a call.
    pub(super) fn extend(&self, client: Option<ClientAddress>, extensions: &mut Extensions) {
        if let Some(client) = client {
            extensions.insert(client);
        }
        extensions.insert(self.peer.clone());
        self.info.insert(extensions);
    }
}

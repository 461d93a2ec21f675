//! Whom a call counts for where callers are told apart by address.

use std::sync::Arc;

use http::HeaderMap;

use super::context::ConnectionContext;
use crate::server::budget::Account;
use crate::server::client_address::ClientAddress;
use crate::server::peer::Peer;

/// The origin of a call: its connection or, when that is a trusted proxy's, the client that the proxy names. Found out once for
/// a call; what is made for a request of HTTP has that one's.
#[derive(Clone, Debug, Default)]
pub(super) struct CallOrigin {
    client: Option<ClientAddress>,
    /// `None`: the connection's own address counts.
    named: Option<Arc<NamedClient>>,
}

/// A client that a proxy has named.
#[derive(Debug)]
struct NamedClient {
    /// The proxy, at the client's address.
    peer: Peer,
    account: Option<Account>,
}

impl CallOrigin {
    /// That of a call with these headers.
    pub(super) fn of(connection: &ConnectionContext, headers: &HeaderMap) -> Self {
        let Some(trusted) = &connection.pipeline.trusted else { return Self::default() };
        let client = trusted.client_of(Some(&connection.peer), connection.is_proxy, headers);
        let own = connection.peer.address().map(|address| address.ip().to_canonical());
        let named = (client.address() != own).then(|| {
            let peer = connection.peer.for_client(client.address());
            let account = peer.network_key().map(|network| connection.pipeline.budgets.account_of_address(network));
            Arc::new(NamedClient { peer, account })
        });
        Self { client: Some(client), named }
    }

    /// The peer that limits count, and that authenticators and records are shown.
    pub(super) fn peer<'a>(&'a self, connection: &'a ConnectionContext) -> &'a Peer {
        self.named.as_deref().map_or(&connection.peer, |named| &named.peer)
    }

    /// What its address has of the budgets.
    pub(super) fn account<'a>(&'a self, connection: &'a ConnectionContext) -> Option<&'a Account> {
        self.named.as_deref().map_or(connection.address.as_ref(), |named| named.account.as_ref())
    }

    /// What handlers are told of it, if the server asks for it.
    pub(super) fn client(&self) -> Option<ClientAddress> {
        self.client
    }
}

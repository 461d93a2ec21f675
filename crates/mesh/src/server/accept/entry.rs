//! The way of a connection from its socket to its service: the header of a balancer, if there has to be one, and its admission.

use std::future::Future;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::admission::Admission;
use super::connection::Connection;
use super::goodbye::Goodbyes;
use super::listener::Accepted;
use super::observer::{ConnectionObserver, RefusedConnection, show_refused};
use super::opening::Opening;
use super::proxy_protocol::{HeaderError, ProxyRule, Source};
use super::register::{Register, Registered};
use crate::server::peer::Network;
use crate::server::pipeline::HandlerService;
use crate::server::tls::ServerTls;

/// What a connection that was accepted has to pass.
pub(super) struct Entry<H> {
    pub admission: Arc<Admission>,
    /// Those that have not said anything yet.
    pub opening: Arc<Register>,
    /// Where one connection gives way to another, if it does.
    pub evicts: Option<Arc<Register>>,
    pub tls: Option<Arc<ServerTls>>,
    /// By when it has to have said what it speaks.
    pub deadline: Instant,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
    pub refusals: Refusals,
    pub connection: Connection<H>,
}

impl<H: HandlerService> Entry<H> {
    /// Reads the header that the connection has to begin with, and admits whom it names. Until then `place` is its own, and it
    /// counts for nobody: a balancer has the connections of all its clients.
    pub(super) async fn run(self, mut accepted: Accepted, rule: Arc<ProxyRule>, place: Registered) {
        let read = tokio::select! {
            read = timeout_at(self.deadline, rule.read(&mut accepted.io)) => read,
            () = place.evicted() => return self.refusals.show(&accepted, RefusedConnection::Evicted),
            () = self.stopping.cancelled() => return,
        };
        let source = match read {
            Ok(Ok(source)) => source,
            Ok(Err(error @ HeaderError::Gone(_))) => {
                return tracing::debug!(peer = %accepted.info, %error, "a peer has gone before it said anything");
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %accepted.info, %error, "a header of the PROXY protocol can't be used");
                return self.refusals.show(&accepted, RefusedConnection::InvalidProxyHeader);
            }
            Err(_) => return self.refusals.show(&accepted, RefusedConnection::TimedOut),
        };
        if let Source::Client(client) = source {
            accepted.hop = accepted.info.address();
            accepted.info = accepted.info.of_client(client);
        }
        drop(place);
        if let Some(served) = self.admit(accepted) {
            served.await;
        }
    }

    /// Admits the connection, and serves it to its end; `None`: it was refused.
    pub(super) fn admit(self, accepted: Accepted) -> Option<impl Future<Output = ()> + Send + 'static> {
        let Self { admission, opening, evicts, tls, deadline, stopping, refusals, connection } = self;
        let network = accepted.info.address().map(|address| Network::of(address.ip()));
        let admitted = match admission.admit(network) {
            Ok(admitted) => admitted,
            // Told at once, a client goes elsewhere; it would wait in vain otherwise.
            Err(why) => {
                refusals.refuse(accepted, why);
                return None;
            }
        };
        let opening = Opening { tls, deadline, place: opening.begin(network), stopping };
        let evicts = evicts.map(|evicts| evicts.begin(network));
        Some(async move {
            let served = connection.run(accepted, opening, admitted);
            match evicts {
                None => served.await,
                Some(registered) => tokio::select! {
                    () = served => {}
                    () = registered.evicted() => {}
                },
            }
        })
    }
}

/// Refuses connections, and says so.
#[derive(Clone)]
pub(super) struct Refusals {
    pub observer: Option<Arc<dyn ConnectionObserver>>,
    /// `None`: it costs a handshake to say anything, over TLS.
    pub goodbyes: Option<Goodbyes>,
}

impl Refusals {
    /// Tells the peer why.
    pub(super) fn refuse(&self, accepted: Accepted, why: RefusedConnection) {
        self.show(&accepted, why);
        if let Some(goodbyes) = &self.goodbyes {
            goodbyes.refuse(accepted.io, why);
        }
    }

    /// Tells the peer nothing: it doesn't speak what it should.
    pub(super) fn show(&self, accepted: &Accepted, why: RefusedConnection) {
        tracing::debug!(peer = %accepted.info, ?why, "a connection was refused");
        show_refused(self.observer.as_ref(), accepted.info.address(), why);
    }
}

//! One connection: opened, served, and observed to its end.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::admission::Admitted;
use super::calls::OpenCalls;
use super::ends::Ends;
use super::goodbye::{self, NOT_HTTP1};
use super::http1::{Http1, Http1Connection};
use super::life::{Life, Turn};
use super::listener::{Accepted, ConnectInfo};
use super::observer::{ConnectionObserver, Observed, RefusedConnection, show_refused};
use super::opening::{Opened, Opening, Protocol};
use super::options::ConnectionOptions;
use crate::server::http::HttpConnection;
use crate::server::peer::Peer;
use crate::server::pipeline::{ConnectionCalls, ConnectionContext, HandlerService, Handlers, HttpRequests, Pipeline};
use crate::transport::{Io, ServerConnection};

/// What a connection of a server has.
pub(super) struct Connection<H> {
    pub pipeline: Arc<Pipeline>,
    pub handlers: Handlers<H>,
    pub options: Arc<ConnectionOptions>,
    pub ends: Ends,
    pub http1: Option<Arc<dyn Http1>>,
    pub observer: Option<Arc<dyn ConnectionObserver>>,
}

impl<H: HandlerService> Connection<H> {
    /// Opens the connection and serves it to its end.
    pub(super) async fn run(self, accepted: Accepted, opening: Opening, admitted: Admitted) {
        let Accepted { io, info, hop, .. } = accepted;
        let (address, deadline) = (info.address(), opening.deadline);
        let Opened { io, peer, protocol } = match opening.open(io, address, hop).await {
            Ok(opened) => opened,
            Err(why) => return self.refused(address, why),
        };
        match (protocol, self.http1.clone(), self.pipeline.http.clone()) {
            (Protocol::Http2, ..) => {
                let _observed = Observed::new(self.observer.clone(), peer.clone());
                self.serve(Box::new(io), peer, info, admitted, deadline).await;
            }
            (Protocol::Http1, Some(http1), _) => {
                let _observed = Observed::new(self.observer.clone(), peer.clone());
                let (stopping, cut) = (self.ends.goaway.child_token(), self.ends.cut.child_token());
                let connection = Http1Connection { io: Box::new(io), peer, stopping };
                cut.run_until_cancelled_owned(http1.serve(connection)).await;
            }
            (Protocol::Http1, None, Some(http)) => {
                let _observed = Observed::new(self.observer.clone(), peer.clone());
                self.serve_http1(Box::new(io), peer, info, admitted, http).await;
            }
            (Protocol::Http1, None, None) => {
                self.refused(address, Some(RefusedConnection::NotHttp2));
                goodbye::send_and_close(io, NOT_HTTP1).await;
            }
            (Protocol::Other, ..) => self.refused(address, Some(RefusedConnection::NotHttp2)),
        }
    }

    fn refused(&self, address: Option<SocketAddr>, why: Option<RefusedConnection>) {
        let Some(why) = why else { return };
        tracing::debug!(peer = ?address, ?why, "a connection was not opened");
        show_refused(self.observer.as_ref(), address, why);
    }

    /// Serves HTTP/2. The client has to take the server's first frames by `deadline`.
    async fn serve(self, io: Box<dyn Io>, peer: Peer, info: ConnectInfo, admitted: Admitted, deadline: Instant) {
        let Self { pipeline, handlers, options, ends, .. } = self;
        let (calls, account) = (OpenCalls::new(), admitted.account.clone());
        let place = admitted.open(Arc::clone(&calls));
        let ending = ends.ending.child_token();
        let context = ConnectionContext::new(pipeline, peer, info, account, Arc::clone(&calls), ending.clone());
        let service = ConnectionCalls::new(handlers, context);
        let shaken = tokio::select! {
            shaken = timeout_at(deadline, ServerConnection::handshake(io, &options.serve, service)) => shaken,
            () = ends.cut.cancelled() => return,
        };
        let connection = match shaken {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection has failed before its first call"),
            Err(_) => return tracing::debug!("a client took too long to take the server's settings"),
        };
        live(
            connection,
            ServerConnection::shut_down,
            Life::begin(&options, calls, ends, ending, place.gives_way.clone()),
        )
        .await;
    }

    /// Serves HTTP/1.1, whose requests go to `http`.
    async fn serve_http1(
        self,
        io: Box<dyn Io>,
        peer: Peer,
        info: ConnectInfo,
        admitted: Admitted,
        http: Arc<HttpRequests>,
    ) {
        let Self { pipeline, handlers, options, ends, .. } = self;
        let (open, account) = (OpenCalls::new(), admitted.account.clone());
        let place = admitted.open(Arc::clone(&open));
        let ending = ends.ending.child_token();
        let context = ConnectionContext::new(pipeline, peer, info, account, Arc::clone(&open), ending.clone());
        let calls = ConnectionCalls::new(handlers, context);
        let connection = HttpConnection::new(io, &options, calls, http, Arc::clone(&open));
        live(connection, HttpConnection::shut_down, Life::begin(&options, open, ends, ending, place.gives_way.clone()))
            .await;
    }
}

/// Lives with a connection to its end.
async fn live<C, E>(mut connection: C, shut_down: fn(&mut C), life: Life)
where
    C: Future<Output = Result<(), E>> + Unpin,
    E: fmt::Display,
{
    // A future of a set is polled when it was woken itself: what the whole server may say to its connections,
    // behind one lock, isn't asked for each time that something comes from a client.
    let mut turns = FuturesUnordered::new();
    turns.push(life.next());
    let end = loop {
        let (next, turn) = tokio::select! {
            biased;
            end = &mut connection => break end,
            Some(next) = turns.next() => next,
        };
        match turn {
            Turn::GoAway => shut_down(&mut connection),
            Turn::Cut => break Ok(()),
        }
        turns.push(next.next());
    };
    if let Err(error) = end {
        // Its client's concern: it has gone, or doesn't keep to its protocol.
        tracing::debug!(%error, "a connection has failed");
    }
}

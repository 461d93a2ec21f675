//! Hooks of the user's that panic: nobody's call or connection pays for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use meshwork::Server;
use meshwork::server::{
    CallEnd, CallObserver, CallerLimits, ConnectionObserver, IncomingCall, Peer, RefusedConnection, Resource,
};

use crate::clients::Tcp;
use crate::support::{Running, UNARY, budgets, unary, until};
use crate::wire::Wire;

/// Counts what it is shown, and panics then.
#[derive(Default)]
struct Panics {
    began: AtomicUsize,
    ended: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
    refused: AtomicUsize,
}

impl CallObserver for Panics {
    fn began(&self, _: &IncomingCall<'_>) {
        self.began.fetch_add(1, Ordering::SeqCst);
        panic!("as planned");
    }

    fn ended(&self, _: &IncomingCall<'_>, _: &CallEnd) {
        self.ended.fetch_add(1, Ordering::SeqCst);
        panic!("as planned");
    }
}

impl ConnectionObserver for Panics {
    fn opened(&self, _: &Peer) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        panic!("as planned");
    }

    fn closed(&self, _: &Peer) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        panic!("as planned");
    }

    fn refused(&self, _: Option<SocketAddr>, _: RefusedConnection) {
        self.refused.fetch_add(1, Ordering::SeqCst);
        panic!("as planned");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_of_calls_that_panics_fails_no_call() {
    let panics = Arc::new(Panics::default());
    let server = Running::start(Server::builder().observer(panics.clone()));
    let channel = server.channel();
    for _ in 0..3 {
        assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    }
    until("all have ended", || panics.ended.load(Ordering::SeqCst) == 3).await;
    assert_eq!(panics.began.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_observer_of_connections_that_panics_ends_neither_them_nor_the_server() {
    let panics = Arc::new(Panics::default());
    let one = budgets(Resource::Connections, CallerLimits { per_address: 1, ..CallerLimits::default() });
    let server = Tcp::start(Server::builder().budgets(one).connection_observer(panics.clone())).await;
    let channel = server.channel(81);
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    let refused = Wire::new(server.connect(81).await).await;
    refused.connection.await.unwrap().unwrap_err();
    assert_eq!(panics.refused.load(Ordering::SeqCst), 1);
    // The server still accepts, and the connection is still served.
    assert_eq!(unary(&server.channel(82), UNARY, "y").await.unwrap(), "y");
    assert_eq!(unary(&channel, UNARY, "z").await.unwrap(), "z");
    drop(channel);
    until("it is closed", || panics.closed.load(Ordering::SeqCst) >= 1).await;
    assert!(panics.opened.load(Ordering::SeqCst) >= 2);
}

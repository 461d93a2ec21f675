//! The accept loop: from a socket to a connection that speaks HTTP/2, and the end of them all.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tonic::codegen::StdError;
use tower_service::Service;

use super::connection::{self, Ends, Options};
use super::handshake::{Handshake, Handshakes, Opening};
use super::listener::{Accepted, Listener};
use super::peer::Peer;
use super::tls::ServerTls;
use super::turns::Turns;

/// The pause after a failed accept: most often there are no file descriptors left, and the next one would fail as well.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How long connections may take to be gone once they are cut off.
const CUT_OFF: Duration = Duration::from_secs(1);

/// The connections of a server.
pub(super) struct Connections<S> {
    pub stack: S,
    pub tls: Option<Arc<ServerTls>>,
    pub options: Arc<Options>,
    pub handshakes: Arc<Handshakes>,
    /// Where one connection gives way to another, if it does; else one more than there are places for is refused.
    pub turns: Option<Arc<Turns>>,
    pub places: Arc<Semaphore>,
    pub tasks: TaskTracker,
    pub ends: Ends,
}

impl<S, B> Connections<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    /// Accepts connections until `stop`.
    pub(super) async fn accept(&mut self, mut listener: Listener, stop: impl Future<Output = ()>) {
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok(Some(accepted)) => self.admit(accepted),
                    // Nobody can connect any more; those who have go on.
                    Ok(None) => std::future::pending().await,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
    }

    fn admit(&mut self, accepted: Accepted) {
        // Closed at once, a client goes elsewhere; it would wait in vain otherwise.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::debug!(peer = %accepted.info, "there are as many connections as allowed; one was refused");
            return;
        };
        let handshake = self.handshakes.begin();
        let turn = self
            .turns
            .as_ref()
            .map(|turns| turns.begin(accepted.info.address().map(|address| address.ip().to_canonical())));
        let (stack, tls) = (self.stack.clone(), self.tls.clone());
        let (options, ends) = (Arc::clone(&self.options), self.ends.clone());
        self.tasks.spawn(async move {
            let served = open(accepted, handshake, tls.as_deref(), stack, &options, &ends);
            match turn {
                None => served.await,
                Some(turn) => tokio::select! {
                    () = served => {}
                    () = turn.evicted() => {}
                },
            }
            drop(place);
        });
    }

    /// Lets calls finish until `grace` is over, and ends what is left then. Whether all have finished.
    pub(super) async fn drain(&mut self, grace: Duration) -> bool {
        self.ends.goaway.cancel();
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_ok() {
            return true;
        }
        self.ends.cut.cancel();
        // A call that never yields isn't waited for.
        let _ = timeout(CUT_OFF, self.tasks.wait()).await;
        false
    }
}

/// Speaks TLS, if the server does, and then HTTP/2.
async fn open<S, B>(
    accepted: Accepted,
    handshake: Handshake,
    tls: Option<&ServerTls>,
    stack: S,
    options: &Options,
    ends: &Ends,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let Accepted { io, info } = accepted;
    let deadline = Instant::now() + options.handshake;
    let (io, peer) = match tls {
        None => (io, Peer::at(info.address())),
        Some(tls) => {
            let shaken = tokio::select! {
                shaken = timeout_at(deadline, tls.accept(io)) => shaken,
                () = handshake.evicted() => return,
                () = ends.goaway.cancelled() => return,
            };
            match shaken {
                Ok(Ok((io, identity, certificates))) => (io, Peer::verified(info.address(), identity, certificates)),
                Ok(Err(error)) => return tracing::debug!(peer = %info, %error, "a TLS handshake has failed"),
                Err(_) => return tracing::debug!(peer = %info, "a TLS handshake took too long"),
            }
        }
    };
    let io = Opening::new(io, handshake, deadline, ends.goaway.clone());
    connection::serve(io, peer, info, stack, options, ends).await;
}

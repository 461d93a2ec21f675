//! The accept loop: connections within their bounds, and the end of them all.

mod calls;
mod connection;
mod ends;
mod goodbye;
mod http1;
mod life;
mod listener;
mod observer;
mod opening;
mod options;
mod prefixed;
mod register;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub(in crate::server) use self::calls::{OpenCall, OpenCalls};
use self::connection::Connection;
pub(in crate::server) use self::ends::Ends;
use self::goodbye::Goodbyes;
pub use self::http1::{Http1, Http1Connection};
use self::listener::Accepted;
pub(in crate::server) use self::listener::ConnectInfo;
pub use self::listener::Listener;
pub(in crate::server) use self::listener::is_of_peer;
use self::observer::show_refused;
pub use self::observer::{ConnectionObserver, RefusedConnection};
use self::opening::Opening;
pub(in crate::server) use self::options::ConnectionOptions;
pub(in crate::server) use self::register::Register;
use super::budget::{Budgets, Caller, Resource, Scope};
use super::peer::Network;
use super::pipeline::{HandlerService, Handlers, Pipeline};
use super::tls::ServerTls;

/// The pause after a failed accept: most often there are no file descriptors left, and the next one would fail as well.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How long calls that were ended at the end of the grace have, to tell their callers.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long connections may take to be gone once they are cut off.
const CUT_OFF: Duration = Duration::from_secs(1);

/// The connections of a server. Dropped, it ends them all.
pub(in crate::server) struct Connections<H> {
    pub pipeline: Arc<Pipeline>,
    pub handlers: Handlers<H>,
    pub tls: Option<Arc<ServerTls>>,
    pub options: Arc<ConnectionOptions>,
    pub budgets: Budgets,
    /// Those that have not said anything yet.
    pub opening: Arc<Register>,
    /// Where one connection gives way to another, if it does; else one more than there are places for is refused.
    pub evicts: Option<Arc<Register>>,
    pub places: Arc<Semaphore>,
    /// Who serves HTTP/1, if anybody does.
    pub http1: Option<Arc<dyn Http1>>,
    pub observer: Option<Arc<dyn ConnectionObserver>>,
    pub tasks: TaskTracker,
    pub ends: Ends,
}

impl<H: HandlerService> Connections<H> {
    /// Accepts connections until `stop`.
    pub(in crate::server) async fn accept(&mut self, mut listener: Listener, stop: impl Future<Output = ()>) {
        let goodbyes = Goodbyes::new(self.tasks.clone(), self.ends.goaway.clone());
        let goodbyes = goodbyes.with_http1(self.pipeline.http.is_some());
        let accept = async {
            loop {
                match listener.accept(self.options.kernel_send_buffer).await {
                    Ok(Some(accepted)) => self.admit(accepted, &goodbyes),
                    // Nobody can connect any more; those who have go on.
                    Ok(None) => std::future::pending().await,
                    Err(error) if is_of_peer(&error) => {
                        tracing::debug!(%error, "a peer has gone before it was accepted");
                    }
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

    fn admit(&mut self, accepted: Accepted, goodbyes: &Goodbyes) {
        // Told at once, a client goes elsewhere; it would wait in vain otherwise.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.refuse(accepted, RefusedConnection::TooMany, goodbyes);
        };
        let network = accepted.info.address().map(|address| Network::of(address.ip()));
        let account = network.map(|network| self.budgets.account_of_address(network));
        let caller = Caller { address: account.as_ref(), principal: None };
        let hold = match self.budgets.take(Resource::Connections, 1, caller) {
            Ok(hold) => hold,
            Err(exceeded) => {
                let why = match exceeded.scope {
                    Scope::Server => RefusedConnection::TooMany,
                    _ => RefusedConnection::TooManyOfAddress,
                };
                return self.refuse(accepted, why, goodbyes);
            }
        };
        let opening = Opening {
            tls: self.tls.clone(),
            deadline: Instant::now() + self.options.handshake,
            place: self.opening.begin(network),
            stopping: self.ends.goaway.clone(),
        };
        let evicts = self.evicts.as_ref().map(|evicts| evicts.begin(network));
        let connection = Connection {
            pipeline: Arc::clone(&self.pipeline),
            handlers: self.handlers.clone(),
            account,
            options: Arc::clone(&self.options),
            ends: self.ends.clone(),
            http1: self.http1.clone(),
            observer: self.observer.clone(),
        };
        self.tasks.spawn(async move {
            let served = connection.run(accepted, opening);
            match evicts {
                None => served.await,
                Some(registered) => tokio::select! {
                    () = served => {}
                    () = registered.evicted() => {}
                },
            }
            drop((place, hold));
        });
    }

    fn refuse(&mut self, accepted: Accepted, why: RefusedConnection, goodbyes: &Goodbyes) {
        let Accepted { io, info } = accepted;
        tracing::debug!(peer = %info, ?why, "a connection was refused");
        show_refused(self.observer.as_ref(), info.address(), why);
        // It costs a handshake to say anything over TLS.
        if self.tls.is_none() {
            goodbyes.refuse(io, why);
        }
    }

    /// Lets calls finish until `grace` is over or `deadline` is done, and ends what is left then: calls by a status, and then
    /// their connections. Whether all have finished by themselves.
    pub(in crate::server) async fn drain(&mut self, grace: Duration, deadline: impl Future<Output = ()>) -> bool {
        self.ends.goaway.cancel();
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => return true,
            _ = timeout(grace, deadline) => {}
        }
        self.ends.ending.cancel();
        if timeout(LAST_WORDS, self.tasks.wait()).await.is_err() {
            self.ends.cut.cancel();
            // A call that never yields isn't waited for.
            let _ = timeout(CUT_OFF, self.tasks.wait()).await;
        }
        false
    }
}

impl<H> Drop for Connections<H> {
    fn drop(&mut self) {
        self.ends.cancel();
    }
}

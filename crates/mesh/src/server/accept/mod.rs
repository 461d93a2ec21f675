//! The accept loop: connections within their bounds, and the end of them all.

mod admission;
mod calls;
mod connection;
mod ends;
mod entry;
mod goodbye;
mod http1;
mod inherited;
mod life;
mod listener;
mod observer;
mod opening;
mod options;
mod prefixed;
mod proxy_protocol;
mod register;
mod unix_socket;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub(in crate::server) use self::admission::Admission;
pub(in crate::server) use self::calls::{OpenCall, OpenCalls};
use self::connection::Connection;
pub(in crate::server) use self::ends::Ends;
use self::entry::{Entry, Refusals};
use self::goodbye::Goodbyes;
pub use self::http1::{Http1, Http1Connection};
use self::listener::Accepted;
pub(in crate::server) use self::listener::ConnectInfo;
pub use self::listener::Listener;
pub(in crate::server) use self::listener::is_of_peer;
pub use self::observer::{ConnectionObserver, RefusedConnection};
pub(in crate::server) use self::options::ConnectionOptions;
pub use self::proxy_protocol::ProxyProtocol;
pub(in crate::server) use self::register::Register;
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
    pub admission: Arc<Admission>,
    /// Those that have not said anything yet.
    pub opening: Arc<Register>,
    /// Where one connection gives way to another, if it does; else one more than there are places for is refused.
    pub evicts: Option<Arc<Register>>,
    /// Who serves HTTP/1, if anybody does.
    pub http1: Option<Arc<dyn Http1>>,
    pub observer: Option<Arc<dyn ConnectionObserver>>,
    pub tasks: TaskTracker,
    pub ends: Ends,
}

impl<H: HandlerService> Connections<H> {
    /// Accepts connections of all `listeners` until `stop`.
    pub(in crate::server) async fn accept(&mut self, listeners: Vec<Listener>, stop: impl Future<Output = ()>) {
        let goodbyes = Goodbyes::new(self.tasks.clone(), self.ends.goaway.clone());
        let goodbyes = self.tls.is_none().then(|| goodbyes.with_http1(self.pipeline.http.is_some()));
        let refusals = Refusals { observer: self.observer.clone(), goodbyes };
        let send_buffer = self.options.kernel_send_buffer;
        let mut all = stream::select_all(listeners.into_iter().map(|listener| connections(listener, send_buffer)));
        let accept = async {
            while let Some(accepted) = all.next().await {
                self.enter(accepted, &refusals);
            }
            // Nobody can connect any more; those who have go on.
            std::future::pending().await
        };
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
    }

    fn enter(&mut self, accepted: Accepted, refusals: &Refusals) {
        let entry = Entry {
            admission: Arc::clone(&self.admission),
            opening: Arc::clone(&self.opening),
            evicts: self.evicts.clone(),
            tls: self.tls.clone(),
            deadline: Instant::now() + self.options.handshake,
            stopping: self.ends.goaway.clone(),
            refusals: refusals.clone(),
            connection: Connection {
                pipeline: Arc::clone(&self.pipeline),
                handlers: self.handlers.clone(),
                options: Arc::clone(&self.options),
                ends: self.ends.clone(),
                http1: self.http1.clone(),
                observer: self.observer.clone(),
            },
        };
        match accepted.proxy.clone() {
            None => drop(entry.admit(accepted).map(|served| self.tasks.spawn(served))),
            Some(rule) if rule.trusts(accepted.info.address()) => {
                // As of one network that has no bound of its own: which one it is will be said.
                let place = self.opening.begin(None);
                self.tasks.spawn(entry.run(accepted, rule, place));
            }
            Some(_) => refusals.show(&accepted, RefusedConnection::UntrustedProxy),
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

/// The connections of one listener, whatever becomes of others.
fn connections(listener: Listener, send_buffer: Option<usize>) -> BoxStream<'static, Accepted> {
    stream::unfold(listener, move |listener| next_connection(listener, send_buffer)).boxed()
}

async fn next_connection(mut listener: Listener, send_buffer: Option<usize>) -> Option<(Accepted, Listener)> {
    loop {
        match listener.accept(send_buffer).await {
            Ok(accepted) => return accepted.map(|accepted| (accepted, listener)),
            Err(error) if is_of_peer(&error) => {
                tracing::debug!(%error, "a peer has gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(listener = listener.name(), %error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

impl<H> Drop for Connections<H> {
    fn drop(&mut self) {
        self.ends.cancel();
    }
}

//! A network that fails when a test wants it to: a TCP proxy whose faults are switched while it runs.

mod connection;
mod faults;

use std::future::pending;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use self::connection::serve;
use self::faults::{End, Faults, Mode, Shared};
use crate::process::PATIENCE;

/// The most connections at the same time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1_024;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;
/// How long the next accept waits after one that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// A TCP proxy on the loopback interface, in front of one server. Without faults it passes all bytes, and the end of
/// each direction, as they come.
///
/// What it holds is bounded: 1 MiB for each direction of a connection, and 1,024 connections. Who sends more waits.
/// When it is dropped, its connections and its port are closed.
///
/// A client that learns other addresses of the server from the server finds a way around the proxy; for NATS see
/// [`no_advertise`](crate::nats::Builder::no_advertise).
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    confirmed: watch::Receiver<u64>,
    acceptor: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy in front of `upstream`, which need not be there yet: a client whose connection can't be passed on is
    /// reset.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> Self {
        // It never listens: it keeps the port while no listener does.
        let reserved = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = reserved.local_addr().unwrap();
        let shared = Arc::new(Shared::new(upstream));
        let (confirm, confirmed) = watch::channel(0);
        let acceptor = tokio::spawn(accept(reserved, shared.clone(), confirm));
        let proxy = Self { address, shared, confirmed, acceptor };
        proxy.change(|_| {}).await;
        proxy
    }

    /// Where it listens. It stays the same, whatever the faults.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as `scheme://HOST:PORT`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// How many connections it has accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted()
    }

    /// How many connections of clients are open now.
    pub fn open(&self) -> usize {
        self.shared.open()
    }

    /// Delays all bytes from now on, in both directions: each by `latency` and up to `jitter` more, in order.
    ///
    /// As many bytes are under way as it holds, so that a connection passes no more than 1 MiB in `latency`.
    pub fn latency(&self, latency: Duration, jitter: Duration) {
        self.set(|faults| (faults.latency, faults.jitter) = (latency, jitter));
    }

    /// Passes at most so many bytes a second, for each direction of each connection.
    ///
    /// # Panics
    /// When it is 0: see [`FaultProxy::hold`].
    pub fn bandwidth(&self, bytes_per_second: u32) {
        assert!(bytes_per_second > 0, "a bandwidth of 0 passes nothing: use `hold`");
        self.set(|faults| faults.bandwidth = Some(bytes_per_second));
    }

    /// Tells a side only so much later that the other has closed its direction.
    pub fn slow_close(&self, delay: Duration) {
        self.set(|faults| faults.slow_close = delay);
    }

    /// Closes all connections and refuses new ones, as a server that isn't there. Returns when that is so.
    pub async fn cut(&self) {
        self.change(|faults| {
            faults.mode = Mode::Refuse;
            faults.end_all(End::Close);
        })
        .await;
    }

    /// Resets all connections (RST). New ones pass. Returns when that is so.
    pub async fn reset(&self) {
        self.change(|faults| faults.end_all(End::Reset)).await;
    }

    /// Swallows all bytes from now on and tells nobody: no end passes either, and new connections are accepted.
    /// Connections that have lost something by it are reset by [`FaultProxy::heal`].
    pub fn half_open(&self) {
        self.set(|faults| faults.mode = Mode::Swallow);
    }

    /// Swallows all bytes of the connections of this moment from now on, in both directions, and tells nobody: no end passes
    /// either, as after the other host has vanished. New connections pass. Returns when that is so. The swallowed ones that have
    /// lost something by it are reset by [`FaultProxy::heal`].
    pub async fn swallow_current(&self) {
        self.change(Faults::swallow_current).await;
    }

    /// Leads new connections to another server, as a name that points to another host now. Those of this moment stay.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.set(|faults| faults.upstream = upstream);
    }

    /// Passes nothing from now on, as a network that is cut for a while: what is sent, ends included, waits for
    /// [`FaultProxy::heal`], and so do new connections.
    pub fn hold(&self) {
        self.set(|faults| faults.mode = Mode::Hold);
    }

    /// Loses one answer: the connection whose client sends what `is_request` recognises is cut when that has been
    /// passed to the server, before a byte of the answer passes. The server is not told at once, as it would if its
    /// answer got lost.
    ///
    /// `is_request` is shown, whenever bytes come from a client, the last 256 KiB that the connection has sent since
    /// this call. Whatever came with the end of the request passes with it. All other connections are left alone, and
    /// later ones too. What is returned resolves when it has happened, or to an error when it won't any more: healed,
    /// or replaced by another call.
    pub fn cut_after_request(&self, is_request: impl FnMut(&[u8]) -> bool + Send + 'static) -> oneshot::Receiver<()> {
        self.shared.arm(Box::new(is_request))
    }

    /// Ends all faults, but not a redirection. Connections that have lost bytes are reset, what was held passes, new ones are
    /// accepted. Returns when new ones are.
    pub async fn heal(&self) {
        self.shared.disarm();
        self.change(Faults::heal).await;
    }

    /// Sets what needs no word from the acceptor: connections look at it before each byte.
    fn set(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.faults.send_modify(change);
    }

    /// Sets what the acceptor takes part in, and waits for it.
    async fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut number = 0;
        self.shared.faults.send_modify(|faults| {
            change(faults);
            faults.number += 1;
            number = faults.number;
        });
        let mut confirmed = self.confirmed.clone();
        let confirmed = timeout(PATIENCE, confirmed.wait_for(|confirmed| *confirmed >= number)).await;
        assert!(matches!(confirmed, Ok(Ok(_))), "the proxy at {} doesn't listen any more", self.address);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // It owns the tasks of the connections, which end with it.
        self.acceptor.abort();
    }
}

/// Accepts connections, and confirms the changes of faults that end them or its listening.
async fn accept(reserved: TcpSocket, shared: Arc<Shared>, confirm: watch::Sender<u64>) {
    let address = reserved.local_addr().unwrap();
    let mut faults = shared.faults.subscribe();
    let mut connections = JoinSet::new();
    let (mut listener, mut ended) = (None, 0);
    loop {
        let (number, ends, birth, refuses) = {
            let faults = faults.borrow_and_update();
            (faults.number, faults.ends, faults.birth(), faults.mode == Mode::Refuse)
        };
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(bind(address).and_then(|socket| socket.listen(BACKLOG)).unwrap());
        }
        if ends != ended {
            while connections.join_next().await.is_some() {}
            ended = ends;
        }
        confirm.send_replace(number);
        loop {
            tokio::select! {
                biased;
                changed = faults.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = connections.join_next(), if !connections.is_empty() => {}
                accepted = next(listener.as_ref()), if connections.len() < MOST_CONNECTIONS => match accepted {
                    Ok(client) => {
                        connections.spawn(serve(client, shared.clone(), birth));
                    }
                    Err(_) => sleep(PAUSE).await,
                },
            }
        }
    }
}

/// The next connection; without a listener there is none.
async fn next(listener: Option<&TcpListener>) -> Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => pending().await,
    }
}

/// A socket at an address where others may be, as long as none of them listens.
fn bind(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

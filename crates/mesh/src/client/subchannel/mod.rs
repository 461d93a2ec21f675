//! Subchannels: each keeps a connection to one server, or a few of them (gRFC A105), and gives out places for streams.
//!
//! A task makes the connections: over the server's addresses by happy eyeballs (gRFC A61), again with backoff when that
//! fails, again at once when a connection is lost. With a health check (gRFC A17) a connection gets calls only while the
//! server says SERVING. Handles see the state and reserve streams without a lock. The task ends with its last handle;
//! streams that are open then go on to their end.

mod address;
mod dial;
mod error;
mod failures;
mod handle_state;
mod health;
mod live;
mod pass;
mod slots;
mod task;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::address::ServerAddress;
pub use self::error::ConnectError;
use self::handle_state::SubchannelState;
pub use self::health::HealthCheck;
use self::task::Task;
use crate::client::backoff::Backoff;
use crate::client::connect::Connector;
use crate::observe::{Connectivity, Observers};
use crate::random::Random;
use crate::transport::{Connection, Http2Options, StreamSlot, WaitQueue};

/// How connections are made and kept.
#[derive(Clone)]
pub struct Options {
    /// Makes the byte streams.
    pub connector: Arc<dyn Connector>,
    /// The settings of HTTP/2.
    pub http2: Http2Options,
    /// The longest that a try may take: byte stream, TLS and the peer's SETTINGS together; 20 s.
    pub connect_timeout: Duration,
    /// After how long the next address is tried beside the ones before; 250 ms, held within 100 ms and 2 s (gRFC A61).
    pub happy_eyeballs_delay: Duration,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// The most connections to the server at once, held within 1 and 10 (gRFC A105).
    pub max_connections: usize,
    /// What to ask of the server's health (gRFC A17); `None`: a connection is enough.
    pub health_check: Option<HealthCheck>,
    /// How long to keep a connection without streams; `None`: for ever. It is closed after once to twice this long, so
    /// that calls need not set a timer.
    pub idle_timeout: Option<Duration>,
    /// For the jitter of backoff.
    pub random: Random,
    /// Are told of each change of the state.
    pub observers: Observers,
    /// Who waits for a place for a stream, on this subchannel and on others of its channel.
    pub queue: Arc<WaitQueue>,
}

impl Options {
    /// The defaults of gRPC, over `connector`.
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            connector,
            http2: Http2Options::default(),
            connect_timeout: Duration::from_secs(20),
            happy_eyeballs_delay: Duration::from_millis(250),
            backoff: Backoff::default(),
            max_connections: 1,
            health_check: None,
            idle_timeout: None,
            random: Random::system(),
            observers: Observers::default(),
            queue: Arc::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("connect_timeout", &self.connect_timeout)
            .field("happy_eyeballs_delay", &self.happy_eyeballs_delay)
            .field("backoff", &self.backoff)
            .field("max_connections", &self.max_connections)
            .field("health_check", &self.health_check)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// What a subchannel is doing.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// With a health check, READY means healthy and not just connected.
    pub connectivity: Connectivity,
    /// What went wrong, in TRANSIENT_FAILURE.
    pub error: Option<Arc<ConnectError>>,
    /// Grows with each change, and each time that all addresses failed again: a good moment to resolve the name anew.
    pub generation: u64,
}

/// Why there is no place for a stream now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// All places are taken; another connection was asked for if there may be one.
    Full,
    /// There is no connection that calls may use; one was asked for if the subchannel was idle.
    NotReady,
}

/// A handle of the connections to one server. Clones are handles of the same.
#[derive(Clone)]
pub struct Subchannel {
    shared: Arc<SubchannelState>,
    /// Ends the task with the last handle.
    _alive: Arc<DropGuard>,
}

impl Subchannel {
    /// Starts the task, in IDLE: nothing is connected until [`Subchannel::connect`] or [`Subchannel::reserve`] asks.
    /// Needs a tokio runtime. `name` is what observers are told.
    pub fn spawn(name: Arc<str>, addresses: Vec<ServerAddress>, options: Arc<Options>) -> Self {
        let shared = Arc::new(SubchannelState::new(&options));
        let closed = CancellationToken::new();
        let alive = Arc::new(closed.clone().drop_guard());
        tokio::spawn(Task::new(name, addresses, options, Arc::clone(&shared)).run(closed));
        Self { shared, _alive: alive }
    }

    /// Leaves IDLE; without effect in any other state.
    pub fn connect(&self) {
        self.shared.ask(handle_state::CONNECT);
    }

    /// Goes on with other addresses. A connection whose address stays is kept, with its streams; so are tries under way
    /// and waits after failures. Streams on a connection whose address is gone go on to their end.
    pub fn update_addresses(&self, addresses: Vec<ServerAddress>) {
        self.shared.ask_addresses(addresses);
    }

    /// Forgets earlier failures: what waits after one is tried now.
    pub fn reset_backoff(&self) {
        self.shared.ask(handle_state::RESET);
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.shared.state.borrow().clone()
    }

    /// The state as it changes. It ends with the last handle.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// A place for one stream, on the oldest connection that has room (gRFC A105). Takes no lock.
    ///
    /// # Errors
    /// When there is none now. The [`Options::queue`] tells when to try again.
    pub fn reserve(&self) -> Result<StreamSlot, NoSlot> {
        if self.shared.idles && !self.shared.used.load(Ordering::Relaxed) {
            self.shared.used.store(true, Ordering::Relaxed);
        }
        let usable = self.shared.usable.load();
        for connection in &usable.connections {
            if let Some(slot) = connection.reserve() {
                return Ok(slot);
            }
        }
        if usable.connections.iter().any(Connection::is_live) {
            if self.shared.several {
                self.shared.ask(handle_state::MORE);
            }
            return Err(NoSlot::Full);
        }
        if usable.idle {
            self.shared.ask(handle_state::CONNECT);
        }
        Err(NoSlot::NotReady)
    }

    /// How often a connection was made while there was none; one beside others (gRFC A105) says nothing new of the server.
    pub fn connection_id(&self) -> u64 {
        self.shared.connection_id.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Subchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subchannel")
            .field("state", &self.shared.state.borrow().connectivity)
            .field("connection_id", &self.connection_id())
            .finish()
    }
}

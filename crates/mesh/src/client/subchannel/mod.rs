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
mod options;
mod pass;
mod slots;
mod state;
mod task;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::address::ServerAddress;
use self::handle_state::SubchannelState;
pub use self::options::{HealthCheck, Options};
pub use self::state::State;
use self::task::Task;
use crate::transport::{Connection, StreamSlot};

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
        self.shared.request(handle_state::CONNECT);
    }

    /// Goes on with other addresses. A connection whose address stays is kept, with its streams; so are tries under way
    /// and waits after failures. Streams on a connection whose address is gone go on to their end.
    pub fn update_addresses(&self, addresses: Vec<ServerAddress>) {
        self.shared.request_addresses(addresses);
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
                self.shared.request(handle_state::MORE);
            }
            return Err(NoSlot::Full);
        }
        if usable.idle {
            self.shared.request(handle_state::CONNECT);
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

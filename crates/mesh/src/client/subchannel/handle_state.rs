//! What the handles of a subchannel and its task share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};

use super::address::ServerAddress;
use super::{Options, State};
use crate::transport::{Closed, Connection, WaitQueue};

/// Leave IDLE.
pub(super) const CONNECT: u8 = 1;
/// All connections are full: make another one.
pub(super) const MORE: u8 = 2;
/// There are new addresses.
pub(super) const ADDRESSES: u8 = 4;

/// The connections that calls may use, as a picker of streams sees them.
#[derive(Default)]
pub(super) struct Usable {
    /// The oldest first.
    pub connections: SmallVec<[Connection; 1]>,
    /// Whether someone has to ask for a connection before one is made.
    pub idle: bool,
}

pub(super) struct SubchannelState {
    pub usable: ArcSwap<Usable>,
    /// Who waits for a place.
    pub queue: Arc<WaitQueue>,
    pub state: watch::Sender<State>,
    /// How often a connection was made while there was none.
    pub connection_id: AtomicU64,
    /// Whether a stream was asked for since the last look.
    pub used: AtomicBool,
    /// Whether `used` is looked at.
    pub idles: bool,
    /// Whether there may be more than one connection.
    pub several: bool,
    /// How often the interval of keepalive was doubled.
    pub calmed: AtomicU32,
    /// What the task is asked to do; a bit stands for itself however often it is asked.
    requests: AtomicU8,
    addresses: Mutex<Option<Vec<ServerAddress>>>,
    pub wake: Notify,
}

impl SubchannelState {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            usable: ArcSwap::from_pointee(Usable { idle: true, ..Usable::default() }),
            queue: Arc::clone(&options.queue),
            state: watch::Sender::new(State::default()),
            connection_id: AtomicU64::new(0),
            used: AtomicBool::new(false),
            idles: options.idle_timeout.is_some(),
            several: options.max_connections > 1,
            calmed: AtomicU32::new(0),
            requests: AtomicU8::new(0),
            addresses: Mutex::new(None),
            wake: Notify::new(),
        }
    }

    /// Asks the task, which is woken once however many ask.
    pub(super) fn request(&self, request: u8) {
        if self.requests.load(Ordering::Relaxed) & request == request {
            return;
        }
        if self.requests.fetch_or(request, Ordering::AcqRel) & request != request {
            self.wake.notify_one();
        }
    }

    /// Only the newest list counts.
    pub(super) fn request_addresses(&self, addresses: Vec<ServerAddress>) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
        self.requests.fetch_or(ADDRESSES, Ordering::AcqRel);
        self.wake.notify_one();
    }

    pub(super) fn take_requests(&self) -> (u8, Option<Vec<ServerAddress>>) {
        let requests = self.requests.swap(0, Ordering::AcqRel);
        (requests, self.addresses.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// A connection ended. A peer that was asked for signs of life too often is asked half as often from now on
    /// (gRFC A8).
    pub(super) fn ended(&self, closed: &Closed) {
        if closed.error.as_ref().is_some_and(|error| error.to_string().contains("too_many_pings")) {
            self.calmed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn publish(&self, usable: Usable) {
        self.usable.store(Arc::new(usable));
        self.queue.changed();
    }
}

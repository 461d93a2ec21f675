//! What is wrong with the network now.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How many bytes of a client a predicate is shown.
const WINDOW: usize = 256 << 10;

/// What becomes of bytes, of ends and of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They pass.
    Pass,
    /// They wait.
    Hold,
    /// They are taken, and lost.
    Swallow,
    /// There are no connections.
    Refuse,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// As by a peer that closes.
    Close,
    /// By an RST.
    Reset,
}

/// What had been switched when a connection began, by which it is found to be of those that a later fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    ends: u64,
    generation: u64,
}

/// All that can be switched.
#[derive(Debug)]
pub(super) struct Faults {
    /// Where new connections lead to.
    pub upstream: SocketAddr,
    /// What becomes of connections, unless they are swallowed.
    pub mode: Mode,
    pub latency: Duration,
    pub jitter: Duration,
    /// In bytes a second.
    pub bandwidth: Option<u32>,
    pub slow_close: Duration,
    /// How often all connections were ended: those that began before the last time are to end.
    pub ends: u64,
    /// How they are to end.
    pub end: End,
    /// How often all connections of the time were swallowed.
    generation: u64,
    /// Connections of earlier generations are swallowed.
    swallowed: u64,
    /// The number of the last change that the acceptor is to confirm.
    pub number: u64,
}

impl Faults {
    pub fn birth(&self) -> Birth {
        Birth { ends: self.ends, generation: self.generation }
    }

    /// Whether all connections were ended since.
    pub fn has_ended(&self, birth: Birth) -> bool {
        self.ends != birth.ends
    }

    /// What becomes of a connection.
    pub fn mode_of(&self, birth: Birth) -> Mode {
        if birth.generation < self.swallowed { Mode::Swallow } else { self.mode }
    }

    pub fn swallow_current(&mut self) {
        self.generation += 1;
        self.swallowed = self.generation;
    }

    pub fn end_all(&mut self, end: End) {
        self.ends += 1;
        self.end = end;
    }

    pub fn heal(&mut self) {
        self.mode = Mode::Pass;
        self.swallowed = 0;
        self.latency = Duration::ZERO;
        self.jitter = Duration::ZERO;
        self.bandwidth = None;
        self.slow_close = Duration::ZERO;
    }

    /// When bytes that come now may go on.
    pub fn due(&self) -> Instant {
        Instant::now() + self.latency + self.jitter.mul_f64(rand::random())
    }
}

/// Recognises a request in the last bytes of a client.
pub(super) type IsRequest = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// A request whose answer is to get lost.
struct Armed {
    number: usize,
    is_request: IsRequest,
    happened: oneshot::Sender<()>,
}

/// What a client has sent since a request is waited for.
#[derive(Default)]
pub(super) struct Window {
    number: usize,
    bytes: Vec<u8>,
}

/// What a proxy and its connections share.
pub(super) struct Shared {
    pub faults: watch::Sender<Faults>,
    armed: Mutex<Option<Armed>>,
    armings: AtomicUsize,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Shared {
    pub fn new(upstream: SocketAddr) -> Self {
        let faults = Faults {
            upstream,
            mode: Mode::Pass,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            slow_close: Duration::ZERO,
            ends: 0,
            end: End::Close,
            generation: 0,
            swallowed: 0,
            number: 0,
        };
        Self {
            faults: watch::Sender::new(faults),
            armed: Mutex::new(None),
            armings: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Waits for a request, instead of any other.
    pub fn arm(&self, is_request: IsRequest) -> oneshot::Receiver<()> {
        let (happened, happens) = oneshot::channel();
        let number = self.armings.fetch_add(1, Ordering::Relaxed) + 1;
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Armed { number, is_request, happened });
        happens
    }

    /// Waits for no request any more.
    pub fn disarm(&self) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks at what comes from a client. When that completes the request, it isn't waited for any more, and what is
    /// returned is to be told when its answer has been lost.
    pub fn recognise(&self, window: &mut Window, bytes: &[u8]) -> Option<oneshot::Sender<()>> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = armed.as_mut() else {
            *window = Window::default();
            return None;
        };
        if window.number != waiting.number {
            *window = Window { number: waiting.number, bytes: Vec::new() };
        }
        window.bytes.extend_from_slice(bytes);
        window.bytes.drain(..window.bytes.len().saturating_sub(WINDOW));
        if (waiting.is_request)(&window.bytes) { armed.take().map(|armed| armed.happened) } else { None }
    }
}

/// A connection of a client, counted as open until it is dropped.
pub(super) struct Counted(Arc<Shared>);

impl Counted {
    pub fn new(shared: Arc<Shared>) -> Self {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

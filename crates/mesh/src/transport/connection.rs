//! One HTTP/2 connection: its places for streams and what is known of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::sync::Notify;

use super::driver::Driver;
use super::exchange::Exchange;
use super::queue::WaitQueue;
use super::wire::{ReadActivity, Wire};
use super::{Io, RequestBody, TransportError};

/// The settings of a connection.
#[derive(Clone, Debug)]
pub struct Http2Options {
    /// The flow-control window of a stream, in bytes.
    pub stream_window: u32,
    /// The flow-control window of the connection, in bytes. What callers leave unread counts against it, and once it is
    /// used up, all streams of the connection stand still; so it is far larger than that of a stream.
    pub connection_window: u32,
    /// The largest list of headers that a call sends, and of headers or trailers that it takes from the server, in bytes as
    /// HTTP/2 counts them (RFC 9113, section 6.5.2): 64 KiB. What is larger ends that call with RESOURCE_EXHAUSTED, and no
    /// other. Above 4 MiB a server counts as broken.
    pub max_header_list_size: u32,
    /// How often the peer is asked for a sign of life while it is silent; `None`: never. At least 10 s (gRFC A8).
    pub keep_alive_interval: Option<Duration>,
    /// How long the sign of life may take before the connection counts as dead; 20 s.
    pub keep_alive_timeout: Duration,
    /// Whether to ask while there are no calls.
    pub keep_alive_while_idle: bool,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            stream_window: 2 << 20,
            connection_window: 1 << 30,
            max_header_list_size: 64 << 10,
            keep_alive_interval: None,
            keep_alive_timeout: Duration::from_secs(20),
            keep_alive_while_idle: false,
        }
    }
}

/// A handle of an established connection. While one is held, or a stream is open, the connection stays.
#[derive(Clone)]
pub struct Connection {
    pub(super) shared: Arc<ConnectionState>,
}

pub(super) struct ConnectionState {
    sender: Mutex<SendRequest<Bytes>>,
    /// Streams that are open or reserved.
    active: AtomicUsize,
    /// The peer's limit of streams.
    limit: AtomicUsize,
    life: AtomicU8,
    /// Notified when a place for a stream becomes free, and at the end: for streams beside the calls.
    room: Notify,
    /// Whether such a stream was ever waited for: to notify nobody takes a lock.
    room_awaited: AtomicBool,
    /// The calls that wait for a place.
    queue: Arc<WaitQueue>,
    /// The largest list of headers that a call takes.
    pub(super) max_header_list_size: usize,
    /// Told at GOAWAY and at the end, and never else.
    going: Notify,
    heard: Arc<ReadActivity>,
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        self.heard.alone.wake();
    }
}

/// The header lists that are read at least, whatever a call takes: `h2` cuts trailers that are larger than its limit, and
/// ends the connection, with all calls on it, at four times as much.
const HEADERS_READ: u32 = 4 << 20;

const LIVE: u8 = 0;
const DRAINING: u8 = 1;
const CLOSED: u8 = 2;

impl ConnectionState {
    /// Held only for one call of `h2`, which locks for itself as well; never over an await.
    pub(super) fn sender(&self) -> MutexGuard<'_, SendRequest<Bytes>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit, Ordering::Relaxed);
        if limit > before {
            self.room.notify_waiters();
            self.queue.changed();
        }
    }

    pub(super) fn drain(&self) {
        self.life.fetch_max(DRAINING, Ordering::Release);
        self.room.notify_waiters();
        self.going.notify_waiters();
    }

    pub(super) fn close(&self) {
        self.life.store(CLOSED, Ordering::Release);
        self.room.notify_waiters();
        self.going.notify_waiters();
    }

    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn is_live(&self) -> bool {
        self.life.load(Ordering::Acquire) == LIVE
    }

    /// Why a call can't have these headers or trailers `of` its request or response, if it can't.
    pub(super) fn too_large(&self, of: &str, headers: &HeaderMap) -> Option<TransportError> {
        // As HTTP/2 counts them (RFC 9113, section 6.5.2).
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        (size > self.max_header_list_size)
            .then(|| TransportError::headers_too_large(of, size, self.max_header_list_size))
    }
}

impl Connection {
    /// Speaks HTTP/2 over `io` and waits for the peer's SETTINGS: a peer that is frozen has a kernel that takes bytes,
    /// but sends none. The caller bounds the wait, and spawns the driver. Places that become free are told to `queue`.
    ///
    /// # Errors
    /// When the peer ends the connection, or doesn't speak HTTP/2.
    pub async fn handshake(
        io: Box<dyn Io>,
        options: &Http2Options,
        queue: Arc<WaitQueue>,
    ) -> Result<(Self, Driver), TransportError> {
        let (wire, heard) = Wire::new(io, options.keep_alive_interval.is_some());
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(options.stream_window)
            .initial_connection_window_size(options.connection_window)
            .max_header_list_size(options.max_header_list_size.max(HEADERS_READ))
            .enable_push(false)
            // Streams are counted here, and none is sent before the peer's SETTINGS.
            .initial_max_send_streams(0)
            .max_send_buffer_size(1 << 20)
            // What the server sends on streams that were cancelled is passed over for a while; after that `h2` resets them
            // once more, and would end the connection after 1024 of those: a channel that cancels a lot would lose it.
            .max_concurrent_reset_streams(1024)
            .max_local_error_reset_streams(None)
            .handshake::<_, Bytes>(wire)
            .await
            .map_err(TransportError::stream)?;
        let shared = Arc::new(ConnectionState {
            sender: Mutex::new(sender),
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            life: AtomicU8::new(LIVE),
            room: Notify::new(),
            room_awaited: AtomicBool::new(false),
            queue,
            max_header_list_size: options.max_header_list_size as usize,
            going: Notify::new(),
            heard: Arc::clone(&heard),
        });
        let mut driver = Driver::new(connection, heard, Arc::downgrade(&shared), options);
        driver.settings().await?;
        Ok((Self { shared }, driver))
    }

    /// A place for one stream; `None` when the peer's limit of streams is reached, or the connection is going.
    pub fn reserve(&self) -> Option<StreamSlot> {
        if !self.is_live() {
            return None;
        }
        let limit = self.shared.limit.load(Ordering::Relaxed);
        // Never above the limit, not even for a moment: who waits for room would see none, and not be told of it.
        let place = |active| (active < limit).then_some(active + 1);
        self.shared.active.fetch_update(Ordering::SeqCst, Ordering::SeqCst, place).ok()?;
        Some(StreamSlot { shared: Arc::clone(&self.shared) })
    }

    /// Resolves when a place may have become free, or the connection is going, for a stream that doesn't wait in the
    /// [`WaitQueue`]. Made before [`Connection::reserve`] is tried and enabled, it misses nothing.
    pub fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.room_awaited.store(true, Ordering::SeqCst);
        self.shared.room.notified()
    }

    /// Whether new streams may be opened: false after GOAWAY and at the end.
    pub fn is_live(&self) -> bool {
        self.shared.is_live()
    }

    /// Resolves when no new streams may be opened: at GOAWAY or at the end. Calls don't wake it.
    pub async fn going(&self) {
        let going = self.shared.going.notified();
        tokio::pin!(going);
        going.as_mut().enable();
        if self.is_live() {
            going.await;
        }
    }

    /// How many streams are open or reserved.
    pub fn active_streams(&self) -> usize {
        self.shared.active()
    }

    /// How many streams the peer allows.
    pub fn max_streams(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Whether `other` is the same connection.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("live", &self.is_live())
            .field("active_streams", &self.active_streams())
            .field("max_streams", &self.max_streams())
            .finish()
    }
}

/// A place for one stream, given back when dropped; it goes along with the request to the end of its response.
pub struct StreamSlot {
    pub(super) shared: Arc<ConnectionState>,
}

impl StreamSlot {
    /// Sends a request. Nothing is awaited: bytes that don't fit are sent as the peer takes them.
    ///
    /// # Errors
    /// When the connection ended meanwhile, or the headers are too large; the request never left.
    pub fn send(self, request: Request<()>, body: RequestBody) -> Result<Exchange, TransportError> {
        // A server ends the whole connection for headers that are far larger than it takes.
        if let Some(error) = self.shared.too_large("request", request.headers()) {
            return Err(error);
        }
        let end = matches!(body, RequestBody::Empty);
        let mut cx = Context::from_waker(noop_waker_ref());
        let sent = {
            let mut sender = self.shared.sender();
            if sender.poll_ready(&mut cx).is_pending() {
                // h2 opens a stream a little after its place was given back here, and takes no other request meanwhile; but
                // a clone takes one, and keeps the order.
                let fresh = sender.clone();
                *sender = fresh;
            }
            sender.send_request(request, end)
        };
        match sent {
            Ok((response, stream)) => Ok(Exchange::new(self, response, stream, body)),
            Err(error) => {
                // A message that h2 itself refuses is no fault of the connection, unless it has no stream ids left.
                let mut spent = || matches!(self.shared.sender().poll_ready(&mut cx), Poll::Ready(Err(_)));
                if !(error.is_go_away() || error.is_io() || error.reason().is_some() || spent()) {
                    // It would be refused wherever it is sent.
                    return Err(TransportError::malformed(format!("the request is no HTTP/2: {error}")));
                }
                self.shared.drain();
                Err(TransportError::not_sent(format!("the connection was going: {error}")))
            }
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let before = self.shared.active.fetch_sub(1, Ordering::SeqCst);
        let limit = self.shared.limit.load(Ordering::Relaxed);
        if (before >= limit || before == 1) && self.shared.room_awaited.load(Ordering::SeqCst) {
            self.shared.room.notify_waiters();
        }
        if before <= limit && self.shared.is_live() {
            self.shared.queue.place();
        }
    }
}

impl fmt::Debug for StreamSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSlot")
    }
}

//! One HTTP/2 connection and its handles.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::uri::Authority;

use super::abandonment::Abandonment;
use super::driver::Driver;
use super::options::Http2Options;
use super::queue::WaitQueue;
use super::slot::StreamSlot;
use super::state::ConnectionState;
use super::wire::Wire;
use super::{Io, TransportError};

/// A handle of an established connection. While one is held, or a stream is open, the connection stays.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<ConnectionState>,
}

/// The header lists that are read at least, whatever a call takes: `h2` cuts trailers that are larger than its limit, and
/// ends the connection, with all calls on it, at four times as much.
const HEADERS_READ: u32 = 4 << 20;

/// The largest window of HTTP/2 (RFC 9113, section 6.9.1); `h2` panics above it.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// The window that every connection begins with (RFC 9113, section 6.9.2). It can't be made smaller by a frame.
const FIRST_WINDOW: u32 = 65_535;

impl Connection {
    /// Speaks HTTP/2 over `io` and waits for the peer's SETTINGS: a peer that is frozen has a kernel that takes bytes,
    /// but sends none. The caller bounds the wait, and spawns the driver. Places that become free go to `queue`. `authority`
    /// is that of the server, where it has one of its own.
    ///
    /// # Errors
    /// When the peer ends the connection, or doesn't speak HTTP/2.
    pub async fn handshake(
        io: Box<dyn Io>,
        options: &Http2Options,
        queue: Arc<WaitQueue>,
        authority: Option<Authority>,
    ) -> Result<(Self, Driver), TransportError> {
        let (wire, reads) = Wire::new(io, options.keep_alive_interval.is_some());
        let window = options.connection_window.clamp(FIRST_WINDOW, LARGEST_WINDOW);
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(options.stream_window.min(LARGEST_WINDOW))
            .initial_connection_window_size(window)
            // What small frames take that nobody reads yet. By itself `h2` allows half the window, which a few callers that
            // read slowly would use up for all others.
            .data_frame_budget((window as usize).saturating_mul(2))
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
        let abandonment = Arc::new(Abandonment::default());
        let shared = Arc::new(ConnectionState::new(sender, options, queue, authority, Arc::clone(&abandonment)));
        let mut driver = Driver::new(connection, reads, abandonment, Arc::downgrade(&shared), options);
        driver.settings().await?;
        Ok((Self { shared }, driver))
    }

    /// A place for one stream; `None` when the peer's limit of streams is reached, or the connection is going.
    pub fn reserve(&self) -> Option<StreamSlot> {
        StreamSlot::reserve(&self.shared)
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

//! The settings of a server's connections.

use std::time::Duration;

use h2::server::Builder;

/// The settings of a server's connections. What HTTP/2 doesn't allow is taken as the nearest that it does.
#[derive(Clone, Debug)]
pub(crate) struct ServeOptions {
    /// How many calls a client may have open at once on one connection.
    pub max_concurrent_streams: u32,
    /// The largest header list that a call may have, in bytes as HTTP/2 counts them. The connection itself reads 4 times as
    /// much, 64 KiB at least, so that such a call can be refused with a status; it answers what is larger by 431, and ends
    /// above 4 times that.
    pub max_header_list_size: u32,
    /// The receive window of a request, in bytes.
    pub stream_window: u32,
    /// The receive window of all requests of a connection together, in bytes; 65,535 at least (RFC 9113, section 6.9.2).
    pub connection_window: u32,
    /// The largest frame that is read, in bytes: 16 KiB to 16 MiB − 1.
    pub max_frame_size: u32,
    /// How many bytes of one answer may be with the connection, within the client's windows; the rest waits outside.
    pub send_buffer: usize,
    /// How many bytes of all answers of a connection together may be with it and not written yet, and one frame of an answer
    /// more: what a client with large windows makes it keep that does not read its socket. Above 16 KiB it is counted
    /// by who serves. Heads and trailers are not: there are no more of them than streams.
    pub unwritten: usize,
    /// How long a client may be silent, and how long it may take for a sign of life then.
    pub keep_alive: Option<(Duration, Duration)>,
    /// How long the client may take to read what was written before the socket is closed, and at any time to make room for
    /// more of what is to be written.
    pub linger: Duration,
}

/// The largest window of HTTP/2 (RFC 9113, section 6.9.1); `h2` panics above it.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// The window that every connection begins with (RFC 9113, section 6.9.2). It can't be made smaller by a frame.
const FIRST_WINDOW: u32 = 65_535;

/// The limits of SETTINGS_MAX_FRAME_SIZE (RFC 9113, section 6.5.2); `h2` panics outside of them.
const SMALLEST_FRAME: u32 = 1 << 14;
const LARGEST_FRAME: u32 = (1 << 24) - 1;

/// The header lists that are read at least, whatever a call may have.
const HEADERS_READ: u32 = 64 << 10;

impl ServeOptions {
    /// A connection with these settings.
    pub(super) fn builder(&self) -> Builder {
        let window = self.connection_window.clamp(FIRST_WINDOW, LARGEST_WINDOW);
        let streams = usize::try_from(self.max_concurrent_streams).unwrap_or(usize::MAX);
        let mut builder = Builder::new();
        builder
            .initial_window_size(self.stream_window.min(LARGEST_WINDOW))
            .initial_connection_window_size(window)
            .max_frame_size(self.max_frame_size.clamp(SMALLEST_FRAME, LARGEST_FRAME))
            // What small frames take that nobody reads yet. By itself `h2` allows half the window, which a few handlers that
            // read slowly would use up for all others.
            .data_frame_budget(usize::try_from(window).unwrap_or(usize::MAX).saturating_mul(2))
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_header_list_size(self.max_header_list_size.saturating_mul(4).max(HEADERS_READ))
            // `h2` panics above 32 bits, and nothing would ever be sent with 0.
            .max_send_buffer_size(self.send_buffer.clamp(1, 1 << 31))
            // Clients that cancel many calls at once are no attack; what is above it is ENHANCE_YOUR_CALM.
            .max_pending_accept_reset_streams(streams)
            // What clients send on streams that were answered early is passed over for a while. After that each such frame is
            // an error of a stream, and `h2` ends the connection after so many of those, whatever calls are open: without that
            // bound a client that reads nothing could make it queue resets without end.
            .max_concurrent_reset_streams(1024)
            // A client may open calls before it has read how many it may. One above that takes two of these, for its head and
            // for its message: there may be as many above as there may be at all.
            .max_local_error_reset_streams(Some(streams.saturating_mul(2).max(1024)));
        builder
    }
}

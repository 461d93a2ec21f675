//! The settings of a connection.

use std::time::Duration;

/// The settings of a connection.
#[derive(Clone, Debug)]
pub struct Http2Options {
    /// The flow-control window of a stream, in bytes: 2 MiB. At most 2³¹ − 1; more is taken as that.
    pub stream_window: u32,
    /// The flow-control window of the connection, in bytes: 256 MiB. It is the bound of what unread responses of one
    /// connection may hold in memory: the server sends no more than this ahead of what callers have read. Once it is used up,
    /// all streams of the connection stand still, so it is far larger than the window of a stream. A frame below 256 bytes takes
    /// about as much whatever it holds: that is bounded apart, by twice this window, and a server that goes beyond loses the
    /// connection. At most 2³¹ − 1; more is taken as that, and less than 65,535, with which every connection begins, as
    /// 65,535 (RFC 9113, section 6.9.2).
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
            connection_window: 256 << 20,
            max_header_list_size: 64 << 10,
            keep_alive_interval: None,
            keep_alive_timeout: Duration::from_secs(20),
            keep_alive_while_idle: false,
        }
    }
}

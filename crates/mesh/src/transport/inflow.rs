//! The bytes of one stream on their way in, and the room for more of them.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

/// How many bytes a reader of responses may have before the peer is told that there is room again. Readers that pause hold back
/// so much of the connection's window each: a thousand of them must not use it up.
pub(super) const OF_RESPONSES: usize = 4 << 10;

/// As [`OF_RESPONSES`], of requests, for which a connection has a smaller window.
pub(super) const OF_REQUESTS: usize = 512;

/// The bytes of one stream, whose room is given back as they are read.
pub(super) struct Inflow {
    stream: RecvStream,
    /// Read, and not given back yet.
    unreleased: usize,
    /// So many are given back at once.
    release: usize,
}

impl Inflow {
    /// Gives room back by so many bytes, or when the reader waits or goes.
    pub(super) fn new(stream: RecvStream, release: usize) -> Self {
        Self { stream, unreleased: 0, release }
    }

    /// The next bytes; `None` after the last ones.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let polled = self.stream.poll_data(cx);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) => {
                self.unreleased += bytes.len();
                if self.unreleased >= self.release {
                    self.release();
                }
            }
            Poll::Ready(_) => {}
            Poll::Pending => self.release(),
        }
        polled
    }

    /// What follows the last bytes.
    pub(super) fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.stream.poll_trailers(cx)
    }

    /// Whether nothing is to come.
    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Tells the peer that there is room again for what was read.
    pub(super) fn release(&mut self) {
        if self.unreleased > 0 {
            // Fails only when the stream is closed, and then nobody waits for room.
            let _ = self.stream.flow_control().release_capacity(self.unreleased);
            self.unreleased = 0;
        }
    }
}

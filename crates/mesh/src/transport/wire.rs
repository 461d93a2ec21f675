//! The bytes below HTTP/2, and when the peer was last heard.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

use super::Io;

/// A byte stream that tells what it read.
pub(super) struct Wire {
    io: Box<dyn Io>,
    heard: Arc<ReadActivity>,
}

/// What the driver of a connection learns from its [`Wire`], which is in the hands of `h2`.
pub(super) struct ReadActivity {
    state: AtomicU8,
    /// Whether somebody asks for the time of reads: reading the clock is not free.
    timed: bool,
    since: Instant,
    /// Microseconds from `since` to the last read.
    last: AtomicU64,
    /// Woken when no handle and no stream is left.
    pub(super) alone: AtomicWaker,
}

/// Bytes were read that may not have been looked at yet.
const FRESH: u8 = 1;
/// The last read found nothing: whatever was read before has been looked at.
const DRY: u8 = 2;

impl Wire {
    pub(super) fn new(io: Box<dyn Io>, timed: bool) -> (Self, Arc<ReadActivity>) {
        let (state, last) = (AtomicU8::new(0), AtomicU64::new(0));
        let heard = Arc::new(ReadActivity { state, timed, since: Instant::now(), last, alone: AtomicWaker::new() });
        (Self { io, heard: Arc::clone(&heard) }, heard)
    }
}

impl ReadActivity {
    /// Whether frames may have come since this was last asked. To be asked after `h2` was polled.
    pub(super) fn anything(&self) -> bool {
        // One task reads and asks, so that nothing comes between.
        let state = self.state.load(Ordering::Relaxed);
        if state & DRY != 0 {
            self.state.store(0, Ordering::Relaxed);
        }
        state & FRESH != 0
    }

    /// When bytes were last read; before the first ones, when the connection began.
    pub(super) fn last(&self) -> Instant {
        self.since + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    fn note(&self, read: bool) {
        let state = self.state.load(Ordering::Relaxed);
        let state = if read { FRESH } else { state | DRY };
        self.state.store(state, Ordering::Relaxed);
        if read && self.timed {
            let micros = (Instant::now() - self.since).as_micros();
            self.last.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.heard.note(polled.is_ready());
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

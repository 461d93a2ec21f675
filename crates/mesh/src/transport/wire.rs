//! The bytes below HTTP/2, and what is read of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant};

use super::Io;
use super::frames::FrameScanner;

/// A byte stream that notes what it reads.
pub(super) struct Wire {
    io: Box<dyn Io>,
    frames: FrameScanner,
    reads: Arc<ReadActivity>,
}

/// What the driver of a connection learns from its [`Wire`], which is in the hands of `h2`.
pub(super) struct ReadActivity {
    state: AtomicU8,
    /// Whether somebody asks for the time of reads: reading the clock is not free.
    timed: bool,
    since: Instant,
    /// Microseconds from `since` to the last read.
    last: AtomicU64,
}

/// SETTINGS or GOAWAY was read and may not have been looked at yet.
const FRESH: u8 = 1;
/// The last read found nothing: whatever was read before has been looked at.
const DRY: u8 = 2;

impl Wire {
    pub(super) fn new(io: Box<dyn Io>, timed: bool) -> (Self, Arc<ReadActivity>) {
        let reads = ReadActivity::new(timed);
        (Self { io, frames: FrameScanner::default(), reads: Arc::clone(&reads) }, reads)
    }
}

impl ReadActivity {
    /// Nothing was read yet. `timed`: the time of reads will be asked for.
    pub(super) fn new(timed: bool) -> Arc<Self> {
        let (state, last) = (AtomicU8::new(0), AtomicU64::new(0));
        Arc::new(Self { state, timed, since: Instant::now(), last })
    }

    /// Whether SETTINGS or GOAWAY may have come since this was last asked. To be asked after `h2` was polled.
    pub(super) fn limits_may_have_changed(&self) -> bool {
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

    /// A read found nothing.
    fn dry(&self) {
        self.state.store(self.state.load(Ordering::Relaxed) | DRY, Ordering::Relaxed);
    }

    /// A read found bytes, or the end; SETTINGS or GOAWAY among them if `control`.
    pub(super) fn read(&self, control: bool) {
        let state = if control { FRESH } else { self.state.load(Ordering::Relaxed) & FRESH };
        self.state.store(state, Ordering::Relaxed);
        if self.timed {
            let micros = (Instant::now() - self.since).as_micros();
            self.last.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if polled.is_ready() {
            let control = this.frames.scan(buf.filled().get(before..).unwrap_or_default());
            this.reads.read(control);
        } else {
            this.reads.dry();
        }
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

//! The bytes below HTTP of a server, whose end resets nothing that the client has not read yet.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::settings::SettingsLimit;
use crate::transport::Io;
use crate::transport::frames::FrameScanner;
use crate::transport::wire::ReadActivity;

/// How many bytes of what nobody wants are read before other tasks have their turn, and in all: who goes on to send has not
/// come to read.
const TURN: usize = 32 << 10;
const MOST: usize = 256 << 10;

/// A byte stream that ends with FIN and then reads until the client has ended too: a socket that is closed while bytes come
/// in sends RST, and what the client has not read by then is lost to it.
pub(crate) struct LingeringWire {
    io: Box<dyn Io>,
    /// Notes when something is read, for those who ask.
    reads: Option<Arc<ReadActivity>>,
    /// Of HTTP/2.
    frames: Option<FrameScanner>,
    settings: SettingsLimit,
    /// How long the client may take to end, and how many bytes it may send meanwhile.
    linger: Duration,
    left: usize,
    end: End,
    /// Until when the client may take to make room for what is to be written.
    stall: Option<Pin<Box<Sleep>>>,
    /// Whether `stall` counts.
    stalling: bool,
}

enum End {
    /// Not yet.
    Open,
    /// FIN is sent; the client may take until then.
    Lingering(Pin<Box<Sleep>>),
    Over,
}

impl LingeringWire {
    pub(super) fn new(io: Box<dyn Io>, reads: Option<Arc<ReadActivity>>, linger: Duration) -> Self {
        Self::with(io, reads, Some(FrameScanner::of_client()), linger)
    }

    /// One over which HTTP/1.1 is spoken.
    pub(crate) fn of_http1(io: Box<dyn Io>, linger: Duration) -> Self {
        Self::with(io, None, None, linger)
    }

    fn with(io: Box<dyn Io>, reads: Option<Arc<ReadActivity>>, frames: Option<FrameScanner>, linger: Duration) -> Self {
        let settings = SettingsLimit::new();
        Self { io, reads, frames, settings, linger, left: MOST, end: End::Open, stall: None, stalling: false }
    }

    /// What a write has come to; an error when there was no room for a byte for too long. Such a client may well be alive:
    /// it sends, and does not read, and what it was answered is kept for it.
    fn poll_written<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalling = false;
            return polled;
        }
        if !self.stalling {
            self.stalling = true;
            let limit = sleep(self.linger);
            match &mut self.stall {
                Some(stall) => stall.set(limit),
                None => self.stall = Some(Box::pin(limit)),
            }
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }

    /// Reads and drops what comes; ready at the end of it.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = [0; 4096];
        let turn = self.left.saturating_sub(TURN);
        while self.left > turn {
            let mut buf = ReadBuf::new(&mut dropped);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.left = self.left.saturating_sub(buf.filled().len()),
                // The end, or a reset, after which nothing can be lost any more.
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        if self.left == 0 {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for LingeringWire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if let Some(reads) = &this.reads {
            reads.read(false);
        }
        if let Some(frames) = &mut this.frames
            && frames.scan(buf.filled().get(before..).unwrap_or_default())
        {
            this.settings.count(frames.take_settings())?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LingeringWire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.poll_written(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.poll_written(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.poll_written(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.end {
                End::Open => {
                    let polled = Pin::new(&mut this.io).poll_shutdown(cx);
                    ready!(this.poll_written(polled, cx))?;
                    this.end = End::Lingering(Box::pin(sleep(this.linger)));
                }
                End::Lingering(until) => {
                    let late = until.as_mut().poll(cx).is_ready();
                    if !late {
                        ready!(this.poll_rest(cx));
                    }
                    this.end = End::Over;
                }
                End::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn s7_who_takes_nothing_is_cut_though_it_sends() {
        let (mut peer, io) = duplex(8);
        let (mut reader, mut writer) = tokio::io::split(LingeringWire::new(Box::new(io), None, LIMIT));
        let begin = Instant::now();
        let sends = tokio::spawn(async move {
            while peer.write_all(b"ping").await.is_ok() {
                sleep(Duration::from_secs(5)).await;
            }
        });
        let reads = tokio::spawn(async move { while reader.read_u8().await.is_ok() {} });
        let error = writer.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= LIMIT && begin.elapsed() < LIMIT + Duration::from_secs(1), "{:?}", begin.elapsed());
        sends.abort();
        reads.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn s7_who_takes_a_byte_now_and_then_gets_all() {
        let (mut peer, io) = duplex(1);
        let mut io = LingeringWire::new(Box::new(io), None, LIMIT);
        let reads = tokio::spawn(async move {
            for _ in 0..10 {
                sleep(LIMIT.mul_f64(0.9)).await;
                peer.read_u8().await.unwrap();
            }
        });
        io.write_all(&[0; 10]).await.unwrap();
        reads.await.unwrap();
    }
}

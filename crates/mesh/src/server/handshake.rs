//! Connections that have not said anything yet: they are few, and they have little time.
//!
//! A connection is a handshake until TLS is set up and the preface of HTTP/2 is here (RFC 9113, section 3.4). When there are too
//! many, the oldest gives way to the newest: who means it is quick, and who opens thousands and stays silent keeps nobody out.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::transport::Io;

/// The length of the preface.
const PREFACE: usize = 24;

/// The handshakes of a server.
#[derive(Debug)]
pub(super) struct Handshakes {
    max: usize,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    next: u64,
    /// By their age.
    evict: BTreeMap<u64, CancellationToken>,
}

impl Handshakes {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), pending: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // A panic can't leave the map half changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one, in the place of the oldest if there are too many.
    pub(super) fn begin(self: &Arc<Self>) -> Handshake {
        let evicted = CancellationToken::new();
        let mut pending = self.lock();
        let id = pending.next;
        pending.next += 1;
        pending.evict.insert(id, evicted.clone());
        let oldest = if pending.evict.len() > self.max { pending.evict.pop_first() } else { None };
        drop(pending);
        if let Some((_, oldest)) = oldest {
            oldest.cancel();
        }
        Handshake { of: Arc::clone(self), id, evicted }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.lock().evict.len()
    }
}

/// The place of one handshake; dropped, it is over.
#[derive(Debug)]
pub(super) struct Handshake {
    of: Arc<Handshakes>,
    id: u64,
    evicted: CancellationToken,
}

impl Handshake {
    /// Waits until it has to give way.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.of.lock().evict.remove(&self.id);
    }
}

/// A stream that fails unless the preface comes in time.
pub(super) struct Opening {
    io: Box<dyn Io>,
    /// `None` once the preface is here.
    missing: Option<Box<Missing>>,
}

struct Missing {
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    _handshake: Handshake,
}

impl Opening {
    /// The preface must be here by `deadline`, and before the server is `stopping`.
    pub(super) fn new(io: Box<dyn Io>, handshake: Handshake, deadline: Instant, stopping: CancellationToken) -> Self {
        let missing = Missing {
            bytes: PREFACE,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            evicted: Box::pin(handshake.evicted.clone().cancelled_owned()),
            stopping: Box::pin(stopping.cancelled_owned()),
            _handshake: handshake,
        };
        Self { io, missing: Some(Box::new(missing)) }
    }
}

impl AsyncRead for Opening {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let Some(missing) = &mut self.missing else { return polled };
        missing.bytes = missing.bytes.saturating_sub(buffer.filled().len() - before);
        if missing.bytes == 0 {
            self.missing = None;
        } else if polled.is_pending() {
            let over = missing.deadline.as_mut().poll(cx).is_ready()
                || missing.evicted.as_mut().poll(cx).is_ready()
                || missing.stopping.as_mut().poll(cx).is_ready();
            if over {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Opening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_handshake_gives_way_to_the_newest() {
        let handshakes = Handshakes::new(2);
        let (first, second) = (handshakes.begin(), handshakes.begin());
        assert!(!first.evicted.is_cancelled());
        let third = handshakes.begin();
        first.evicted().await;
        assert!(!second.evicted.is_cancelled() && !third.evicted.is_cancelled());
        drop((first, second, third));
        assert_eq!(handshakes.pending(), 0);
    }
}

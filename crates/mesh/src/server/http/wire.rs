//! The bytes below HTTP/1.1, and what they tell of the connection: when a head begins, and when answers are written.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::server::accept::OpenCalls;
use crate::server::pipeline::ActiveCall;
use crate::transport::LingeringWire;

/// What goes on on a connection. All of it is changed in the connection's task.
pub(super) struct Activity {
    open: Arc<OpenCalls>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Since when the head of a request comes in.
    head: Option<Instant>,
    /// Requests whose answers are with the connection and are not written yet.
    unwritten: Vec<Arc<ActiveCall>>,
}

impl Activity {
    /// That of a connection whose requests are `open`.
    pub(super) fn new(open: Arc<OpenCalls>) -> Arc<Self> {
        Arc::new(Self { open, progress: Mutex::default() })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // A panic can't leave it half changed.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the head of a request comes in, if one does.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.progress().head
    }

    /// Bytes have come. Those that come while a request goes on are of its body, or are looked at again with what
    /// follows them.
    fn read(&self) {
        if self.open.idle_since().is_some() {
            self.progress().head.get_or_insert_with(Instant::now);
        }
    }

    /// A head is whole.
    pub(super) fn head_is_whole(&self) {
        self.progress().head = None;
    }

    /// The connection has all of an answer.
    pub(super) fn leave_unwritten(&self, call: Arc<ActiveCall>) {
        self.progress().unwritten.push(call);
    }

    /// The connection has written all that it had.
    fn written(&self) {
        let written = mem::take(&mut self.progress().unwritten);
        // What they held is given back without the lock.
        drop(written);
    }
}

/// A byte stream that tells of its activity.
pub(super) struct ObservedWire {
    wire: LingeringWire,
    activity: Arc<Activity>,
}

impl ObservedWire {
    pub(super) fn new(wire: LingeringWire, activity: Arc<Activity>) -> Self {
        Self { wire, activity }
    }
}

impl AsyncRead for ObservedWire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ObservedWire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    /// `hyper` comes here only when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.wire).poll_flush(cx))?;
        self.activity.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

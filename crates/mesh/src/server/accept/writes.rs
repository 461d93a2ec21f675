//! Bytes that a peer has to take within a time: who reads nothing holds what its calls hold, as long as it is connected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::Io;

/// A stream that fails when its peer takes no byte of what is written for too long, whatever it sends meanwhile.
pub(super) struct BoundedWrites {
    io: Box<dyn Io>,
    limit: Duration,
    /// When the peer has to have taken something, while `is_waiting`. It is made when it is first needed.
    until: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl BoundedWrites {
    /// Each wait for the peer to take a byte is `limit` long at most.
    pub(super) fn new(io: Box<dyn Io>, limit: Duration) -> Self {
        Self { io, limit, until: None, is_waiting: false }
    }

    fn bound(&mut self, polled: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.is_waiting = false;
            return polled;
        }
        let at = Instant::now() + self.limit;
        let until = self.until.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if !self.is_waiting {
            self.is_waiting = true;
            until.as_mut().reset(at);
        }
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing of what is sent to it")))
    }
}

impl AsyncRead for BoundedWrites {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for BoundedWrites {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.bound(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.bound(polled, cx)
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn s7_who_takes_nothing_is_cut_though_it_sends() {
        let (mut peer, io) = duplex(8);
        let (mut reader, mut writer) = tokio::io::split(BoundedWrites::new(Box::new(io), LIMIT));
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
        let mut io = BoundedWrites::new(Box::new(io), LIMIT);
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

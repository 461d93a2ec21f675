//! A request's body on its way out, as fast as the peer's windows allow.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::Frame;
use tokio::time::Instant;
use tonic::Status;

use super::body::RequestStream;

/// Whom a request that is on its way waits for: its caller, who has not given all of it yet, or the server, which has not
/// opened its window or not answered.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Since when the server is waited for, in microseconds after `began`; [`CALLER`]: the caller is.
    server_since: AtomicU64,
}

const CALLER: u64 = u64::MAX;

impl Progress {
    fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), server_since: AtomicU64::new(CALLER) })
    }

    fn waits_for_caller(&self) {
        self.server_since.store(CALLER, Ordering::Relaxed);
    }

    fn waits_for_server(&self) {
        let micros = self.began.elapsed().as_micros();
        self.server_since.store(u64::try_from(micros).unwrap_or(CALLER - 1), Ordering::Relaxed);
    }

    /// Since when the server is waited for; `None`: the caller is.
    pub(super) fn server_since(&self) -> Option<Instant> {
        match self.server_since.load(Ordering::Relaxed) {
            CALLER => None,
            micros => Some(self.began + Duration::from_micros(micros)),
        }
    }
}

/// The state of sending one body.
pub(super) struct Sending<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// Taken from the body, not yet taken by the windows.
    rest: Bytes,
    /// What came after `rest`.
    next: Option<Frame<Bytes>>,
    /// Whether nothing comes after `rest` and `next`.
    ended: bool,
    /// Whether all of it was given to the stream; not so when the peer wanted no more.
    whole: bool,
    /// Once it has to be waited for.
    progress: Option<Arc<Progress>>,
}

impl<B: RequestStream> Sending<B> {
    pub(super) fn new(stream: SendStream<Bytes>, body: B) -> Self {
        Self { stream, body, rest: Bytes::new(), next: None, ended: false, whole: false, progress: None }
    }

    /// Keeps account of whom the request waits for from now on.
    pub(super) fn progress(&mut self) -> Arc<Progress> {
        let progress = Progress::new();
        if !self.rest.is_empty() {
            progress.waits_for_server();
        }
        self.progress = Some(Arc::clone(&progress));
        progress
    }

    /// Ends the stream for a body that failed. Whoever waits for the response is to know why first.
    pub(super) fn reset(&mut self) {
        self.stream.send_reset(Reason::CANCEL);
    }

    /// Ready when all is sent, or when the peer wants no more; an error is the body's own, and the stream is to be
    /// [`reset`](Self::reset) for it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let polled = self.poll_sent(cx);
        if let Some(progress) = &self.progress {
            if polled.is_pending() && self.rest.is_empty() {
                progress.waits_for_caller();
            } else if polled.is_pending() || self.whole {
                progress.waits_for_server();
            }
        }
        polled
    }

    /// Whether all was sent.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if !self.rest.is_empty() {
                self.stream.reserve_capacity(self.rest.len());
                let mut room = self.stream.capacity();
                if room == 0 {
                    match self.stream.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(capacity))) => room = capacity,
                        // The stream is over; its response says how.
                        Poll::Ready(_) => return Poll::Ready(Ok(())),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                let chunk = self.rest.split_to(room.min(self.rest.len()));
                let last = self.rest.is_empty() && self.ended && self.next.is_none();
                let sent = self.stream.send_data(chunk, last).is_ok();
                self.whole = sent && last;
                if !sent || last {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let frame = match self.next.take() {
                Some(frame) => Some(frame),
                None if self.ended => None,
                None => match self.poll_body(cx) {
                    Poll::Ready(Ok(frame)) => frame,
                    Poll::Ready(Err(status)) => return Poll::Ready(Err(status)),
                    // The peer may answer without waiting for the rest.
                    Poll::Pending => return self.stream.poll_reset(cx).map(|_| Ok(())),
                },
            };
            let Some(frame) = frame else {
                self.whole = self.stream.send_data(Bytes::new(), true).is_ok();
                return Poll::Ready(Ok(()));
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_else(|_| HeaderMap::new());
                    self.whole = self.stream.send_trailers(trailers).is_ok();
                    return Poll::Ready(Ok(()));
                }
            }
            // Whether this was the last frame is often known by now, and then END_STREAM needs no frame of its own.
            if !self.ended {
                match self.poll_body(cx) {
                    Poll::Ready(Ok(next)) => {
                        self.ended |= next.is_none();
                        self.next = next;
                    }
                    Poll::Ready(Err(status)) => return Poll::Ready(Err(status)),
                    Poll::Pending => {}
                }
            }
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Status>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
            Poll::Ready(Some(Err(status))) => Poll::Ready(Err(status)),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

//! The task that sends a body that has to wait.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::Status;

use super::body::RequestStream;
use super::sending::{Progress, Sending};

/// The task that sends a body; it ends with its handle.
pub(super) struct Pump {
    task: AbortHandle,
    ended: oneshot::Receiver<Result<(), Status>>,
    progress: Arc<Progress>,
}

/// How a pump ended.
pub(super) enum PumpEnd {
    /// All was sent, or the server wanted no more.
    Sent,
    /// The body failed; the stream is reset.
    Failed(Status),
    /// Its runtime ended before it.
    Aborted,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pump {
    pub(super) fn spawn<B: RequestStream>(mut sending: Sending<B>) -> Self {
        let (end, ended) = oneshot::channel();
        let progress = sending.progress();
        let task = tokio::spawn(async move {
            let sent = AssertUnwindSafe(poll_fn(|cx| sending.poll(cx))).catch_unwind().await;
            // A panic must look neither like an end nor like a caller that takes its time.
            let sent = sent.unwrap_or_else(|_| Err(Status::internal("the request's body panicked")));
            let failed = sent.is_err();
            // First: who sees the stream reset then finds why.
            let _ = end.send(sent);
            if failed {
                sending.reset();
            }
        });
        Self { task: task.abort_handle(), ended, progress }
    }

    /// Waits for the end. Not to be polled after it.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<PumpEnd> {
        Pin::new(&mut self.ended).poll(cx).map(|ended| match ended {
            Ok(Ok(())) => PumpEnd::Sent,
            Ok(Err(status)) => PumpEnd::Failed(status),
            Err(_) => PumpEnd::Aborted,
        })
    }

    /// What the body failed with, if it did and nobody has taken it.
    pub(super) fn failure(&mut self) -> Option<Status> {
        self.ended.try_recv().ok().and_then(Result::err)
    }

    /// Since when the server is waited for; `None`: the caller is.
    pub(super) fn server_since(&self) -> Option<Instant> {
        self.progress.server_since()
    }
}

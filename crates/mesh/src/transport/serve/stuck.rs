//! The end of connections whose answers get nowhere, although their sockets could be written.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::backlog::Backlog;
use crate::transport::error::TransportError;

/// Watches a backlog. A client that takes its windows back, once `h2` has the bytes, would keep them there for good, and its calls
/// with them: nobody waits for room any more who could give them up.
pub(super) struct StuckBacklog {
    limit: Duration,
    /// Made when something is left in the backlog for the first time.
    timer: Option<Pin<Box<Sleep>>>,
    /// How many frames had left the backlog when the timer began; `None`: it doesn't count.
    since: Option<usize>,
}

impl StuckBacklog {
    /// One frame has to leave the backlog in `limit`, unless it is empty.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, since: None }
    }

    /// Ready when nothing has left the backlog for too long.
    pub(super) fn poll(&mut self, backlog: &Backlog, cx: &mut Context<'_>) -> Poll<TransportError> {
        let Some(mut written) = backlog.written() else {
            self.since = None;
            return Poll::Pending;
        };
        loop {
            let limit = self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
            match self.since {
                None => timer.as_mut().reset(Instant::now() + limit),
                Some(_) if timer.as_mut().poll(cx).is_pending() => return Poll::Pending,
                Some(since) if since == written => {
                    let message = format!("nothing of what waits for the client could be sent for {limit:?}");
                    return Poll::Ready(TransportError::unavailable(message));
                }
                Some(_) => timer.as_mut().reset(Instant::now() + limit),
            }
            self.since = Some(written);
            written = backlog.written().unwrap_or(written);
        }
    }
}

//! The task of a connection: moves its bytes and sees what becomes of it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::TransportError;
use super::abandonment::Abandonment;
use super::keepalive::KeepAlive;
use super::options::Http2Options;
use super::state::ConnectionState;
use super::wire::{ReadActivity, Wire};

/// How long the last bytes of a connection that nobody needs may take: a peer that is frozen never takes them.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a connection ended.
#[derive(Clone, Debug)]
pub struct Closed {
    /// What `h2` said; `None` when it ended in order.
    pub error: Option<TransportError>,
}

/// The future that moves the bytes of a connection, to be spawned. It ends with the connection, and the connection
/// ends when no handle and no stream is left.
#[must_use = "a connection stands still unless its driver is polled"]
pub struct Driver {
    connection: h2::client::Connection<Wire, Bytes>,
    /// Weak, so that the driver does not keep the connection alive.
    shared: Weak<ConnectionState>,
    limit: usize,
    reads: Arc<ReadActivity>,
    abandonment: Arc<Abandonment>,
    keep_alive: Option<KeepAlive>,
    /// What is registered for the last handle or stream to wake.
    registered: Option<Waker>,
    /// Set when no handle and no stream is left.
    farewell: Option<Pin<Box<Sleep>>>,
    /// Whether the turn was passed on once since the last wake-up.
    deferred: bool,
}

impl Driver {
    pub(super) fn new(
        mut connection: h2::client::Connection<Wire, Bytes>,
        reads: Arc<ReadActivity>,
        abandonment: Arc<Abandonment>,
        shared: Weak<ConnectionState>,
        options: &Http2Options,
    ) -> Self {
        let pings = options.keep_alive_interval.and_then(|_| connection.ping_pong());
        let keep_alive = KeepAlive::of_client(options, pings);
        let (registered, farewell) = (None, None);
        Self { connection, shared, limit: 0, reads, abandonment, keep_alive, registered, farewell, deferred: false }
    }

    /// Drives until the peer's SETTINGS are there.
    pub(super) async fn settings(&mut self) -> Result<(), TransportError> {
        poll_fn(|cx| match self.poll_connection(cx) {
            Poll::Ready(closed) => Poll::Ready(Err(match closed.error {
                Some(error) => error.before_settings(),
                None => TransportError::unavailable("the server closed the connection before its SETTINGS"),
            })),
            Poll::Pending if self.limit > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
            return self.closed(ended.err().map(TransportError::stream));
        }
        // It takes locks that the calls want, and the frames that it is about are few.
        if self.reads.limits_may_have_changed() {
            self.update_limits(cx);
        }
        if let Some(keep_alive) = &mut self.keep_alive {
            let active = || self.shared.upgrade().map_or(0, |shared| shared.active());
            if let Poll::Ready(error) = keep_alive.poll(cx, &self.reads, active) {
                return self.closed(Some(error));
            }
        }
        if !self.registered.as_ref().is_some_and(|registered| registered.will_wake(cx.waker())) {
            self.abandonment.register(cx.waker());
            self.registered = Some(cx.waker().clone());
        }
        if self.abandonment.is_abandoned() {
            let farewell = self.farewell.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
            if farewell.as_mut().poll(cx).is_ready() {
                return self.closed(None);
            }
        }
        Poll::Pending
    }

    /// Looks what the peer may have changed: its limit of streams, and whether it takes new ones.
    fn update_limits(&mut self, cx: &mut Context<'_>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let limit = self.connection.max_concurrent_send_streams();
        if limit != self.limit {
            self.limit = limit;
            shared.set_limit(limit);
        }
        // GOAWAY has no event of its own; it shows as an error of the next request.
        if shared.is_live() && matches!(shared.sender().poll_ready(cx), Poll::Ready(Err(_))) {
            shared.drain();
        }
    }

    fn closed(&self, error: Option<TransportError>) -> Poll<Closed> {
        if let Some(shared) = self.shared.upgrade() {
            shared.close();
        }
        Poll::Ready(Closed { error })
    }
}

impl Future for Driver {
    type Output = Closed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        // Whatever wakes this task first, a call with a request or the peer with an answer, more of the same is about to come.
        // Passed on once, its turn comes when the others that are ready have had theirs: one write and one read for all of them.
        if !std::mem::replace(&mut self.deferred, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.deferred = false;
        self.poll_connection(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

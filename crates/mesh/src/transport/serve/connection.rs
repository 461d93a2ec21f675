//! One connection of a server: takes its calls, runs them, and moves their bytes.

use std::fmt;
use std::future::{Future, pending};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::ReusableBoxFuture;

use super::Serve;
use super::backlog::{Backlog, Ticket};
use super::call::Call;
use super::gate::Gate;
use super::linger::LingeringWire;
use super::options::ServeOptions;
use super::payload::Payload;
use super::request::RequestBody;
use super::stuck::StuckBacklog;
use crate::transport::Io;
use crate::transport::error::TransportError;
use crate::transport::keepalive::KeepAlive;
use crate::transport::wire::ReadActivity;

/// How many calls are taken before other tasks have their turn.
const ROUND: usize = 256;

/// How long the calls of a round may keep the connection from its bytes; those that are left get tasks of their own, for
/// other threads to take, where there are any.
const INLINE: Duration = Duration::from_micros(100);

/// After so many rounds of one call the next call is taken for alone: it is run before `h2` is asked whether there are more,
/// which `h2` tells together with writing the answer.
const ALONE: u8 = 8;

/// How many calls there is room for in memory between rounds.
const RETAINED: usize = 32;

/// A call that `h2` has taken, and the way back.
type Accepted<G> = (Request<RecvStream>, SendResponse<Payload<G>>);

/// A connection, from the end of its handshake. The future drives it; it ends in order when the client has closed the
/// connection, or after [`Self::shut_down`] when all calls are over. Dropped, it ends its calls.
///
/// A client that closes its half alone, after its requests, has closed the connection, and calls that are open then are
/// cancelled: HTTP/2 has no half of a connection, since its reader has to open windows and answer pings, and the FIN of a
/// client that waits for answers is the same as that of one that has gone, whose calls are to end.
#[must_use = "a connection stands still unless it is polled"]
pub(crate) struct ServerConnection<S: Serve> {
    h2: h2::server::Connection<LingeringWire, Payload<S::Guard>>,
    serve: S,
    backlog: Arc<Backlog>,
    stuck: StuckBacklog,
    /// What `h2` wakes, and the same as a waker.
    gate: Arc<Gate>,
    waker: Waker,
    keep_alive: Option<(KeepAlive, Arc<ReadActivity>)>,
    /// The calls of this round.
    round: Vec<Accepted<S::Guard>>,
    /// The memory in which calls are run.
    inline: ReusableBoxFuture<'static, ()>,
    /// How many of the last rounds had one call.
    alone: u8,
    /// Whether calls could run beside each other: the runtime has several threads.
    parallel: bool,
}

/// Nothing here is pinned.
impl<S: Serve> Unpin for ServerConnection<S> {}

impl<S: Serve> ServerConnection<S> {
    /// Speaks HTTP/2 over `io`, from the client's preface on. The caller bounds the wait.
    ///
    /// # Errors
    /// When the client closes the connection, or doesn't speak HTTP/2.
    pub(crate) async fn handshake(io: Box<dyn Io>, options: &ServeOptions, serve: S) -> Result<Self, TransportError> {
        let reads = options.keep_alive.map(|_| ReadActivity::new(true));
        let wire = LingeringWire::new(io, reads.clone(), options.linger);
        let handshake = options.builder().handshake::<_, Payload<S::Guard>>(wire);
        let mut h2 = handshake.await.map_err(TransportError::served)?;
        let keep_alive = options.keep_alive.zip(reads).and_then(|((interval, timeout), reads)| {
            let pings = h2.ping_pong()?;
            Some((KeepAlive::of_server(interval, timeout, pings), reads))
        });
        let gate = Arc::new(Gate::default());
        let waker = Waker::from(Arc::clone(&gate));
        let inline = ReusableBoxFuture::new(pending());
        let parallel = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
        let backlog = Backlog::new(options.unwritten, serve.count_unwritten());
        let stuck = StuckBacklog::new(options.linger);
        Ok(Self { h2, serve, backlog, stuck, gate, waker, keep_alive, round: Vec::new(), inline, alone: 0, parallel })
    }

    /// Asks the client for no more calls: GOAWAY without a last stream, and the real one when the client has shown by a pong
    /// that it knows (RFC 9113, section 6.8). The connection ends with its last call.
    pub(crate) fn shut_down(&mut self) {
        self.h2.graceful_shutdown();
    }

    /// Takes calls and runs them until there are no more.
    fn poll_calls(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let (mut taken, mut began) = (0, None);
        loop {
            let most = if taken == 0 && self.alone >= ALONE { 1 } else { ROUND - taken };
            if self.poll_accept(most)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.round.is_empty() {
                break;
            }
            taken += self.round.len();
            self.run(taken > 1, &mut began);
            if taken >= ROUND {
                // Their answers leave before others have their turn.
                let polled = self.h2.poll_closed(&mut Context::from_waker(&self.waker));
                cx.waker().wake_by_ref();
                return polled.map_err(TransportError::served);
            }
        }
        match taken {
            0 => {}
            1 => self.alone = self.alone.saturating_add(1),
            _ => self.alone = 0,
        }
        Poll::Pending
    }

    /// Collects at most so many calls. Ready when the connection is over.
    fn poll_accept(&mut self, most: usize) -> Result<Poll<()>, TransportError> {
        let mut cx = Context::from_waker(&self.waker);
        while self.round.len() < most {
            match self.h2.poll_accept(&mut cx) {
                Poll::Ready(Some(accepted)) => self.round.push(accepted.map_err(TransportError::served)?),
                Poll::Ready(None) => return Ok(Poll::Ready(())),
                Poll::Pending => break,
            }
        }
        Ok(Poll::Pending)
    }

    /// Runs the calls of the round. They are `timed` when there is more than one since `began`.
    fn run(&mut self, timed: bool, began: &mut Option<Instant>) {
        self.gate.shut();
        for (request, mut respond) in self.round.drain(..) {
            // One that was cancelled before its turn is not worth its answer, nor is a client that does it all the time.
            if timed && respond.poll_reset(&mut Context::from_waker(Waker::noop())).is_ready() {
                continue;
            }
            let apart = match *began {
                Some(began) => began.elapsed() >= INLINE,
                None => {
                    *began = (timed && self.parallel).then(Instant::now);
                    false
                }
            };
            let (serve, inline) = (&self.serve, &mut self.inline);
            let ticket = Ticket::new(Arc::clone(&self.backlog));
            // A call that panics ends its own stream only.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let answer = serve.call(request.map(RequestBody::new));
                let call = Call::<_, S::Body, S::Guard>::new(answer, respond, ticket);
                if apart {
                    tokio::spawn(call);
                    return Poll::Ready(());
                }
                inline.set(call);
                // One that has to wait is polled again by its own task, which is woken then.
                inline.poll(&mut Context::from_waker(Waker::noop()))
            }));
            match ended {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => drop(tokio::spawn(mem::replace(inline, ReusableBoxFuture::new(pending())))),
                Err(_) => *inline = ReusableBoxFuture::new(pending()),
            }
        }
        self.gate.open();
        if self.round.capacity() > RETAINED {
            self.round.shrink_to(RETAINED);
        }
    }
}

impl<S: Serve> Future for ServerConnection<S> {
    type Output = Result<(), TransportError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.gate.register(cx.waker());
        if let Poll::Ready(ended) = this.poll_calls(cx) {
            return Poll::Ready(ended);
        }
        if let Poll::Ready(error) = this.stuck.poll(&this.backlog, cx) {
            return Poll::Ready(Err(error));
        }
        match &mut this.keep_alive {
            Some((keep_alive, reads)) => keep_alive.poll(cx, reads, || 0).map(Err),
            None => Poll::Pending,
        }
    }
}

impl<S: Serve> fmt::Debug for ServerConnection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerConnection")
    }
}

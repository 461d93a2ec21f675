//! An answer on its way out, as fast as the client's windows allow.

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::CallGuard;
use super::backlog::Ticket;
use super::payload::Payload;

/// A chunk that is smaller than this part of the memory that it lies in is copied.
const PART: usize = 16;

/// What the head of an answer of gRPC may have without metadata of its service.
static OF_GRPC: [HeaderName; 4] =
    [CONTENT_TYPE, DATE, HeaderName::from_static("grpc-encoding"), HeaderName::from_static("grpc-accept-encoding")];

/// The state of sending one answer.
pub(super) struct Delivery<B, G> {
    stream: SendStream<Payload<G>>,
    body: B,
    /// `None` once the last bytes have taken it with them.
    guard: Option<Arc<G>>,
    /// The way into the backlog of the connection.
    ticket: Ticket,
    /// Taken from the body, not yet taken by the windows.
    rest: Bytes,
    /// How large the memory is that `rest` is a part of.
    allocated: usize,
    /// What comes after `rest`.
    next: Option<Frame<Bytes>>,
    /// Whether nothing comes after `rest` and `next`.
    ended: bool,
    /// What the guard was told to wait for the client.
    unread: usize,
    /// Until when the client may take to make room.
    stall: Option<Pin<Box<Sleep>>>,
    /// Whether `stall` counts from the last byte that was taken.
    stalling: bool,
    /// Whether the answer ends by a reset, whatever trailers it has.
    cut_off: bool,
}

impl<B, G> Delivery<B, G>
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
    G: CallGuard,
{
    /// Sends the head of an answer; `None` when that was all of it. What is known at once to have no data becomes one frame,
    /// head and trailers together: to a client, an answer that begins with a head of its own has committed the call
    /// (gRFC A6). A head with metadata stays one: clients take all that is in a frame with trailers for trailers. The answer
    /// takes the `ticket` unless that was all.
    pub(super) fn begin(
        respond: &mut SendResponse<Payload<G>>,
        response: Response<B>,
        guard: Arc<G>,
        ticket: &mut Ticket,
        cx: &mut Context<'_>,
    ) -> Option<Self> {
        let (mut head, mut body) = response.into_parts();
        let (next, end) = loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => break (Some(Frame::data(data)), false),
                    Err(frame) if head.headers.keys().all(|name| OF_GRPC.contains(name)) => {
                        head.headers.extend(frame.into_trailers().unwrap_or_default());
                        break (None, true);
                    }
                    Err(frame) => break (Some(frame), false),
                },
                Poll::Ready(Some(Err(never))) => match never {},
                Poll::Ready(None) => break (None, true),
                Poll::Pending => break (None, false),
            }
        };
        if guard.is_cut_off() {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
        match respond.send_response(Response::from_parts(head, ()), end) {
            Ok(stream) if !end => Some(Self {
                stream,
                body,
                guard: Some(guard),
                ticket: mem::take(ticket),
                rest: Bytes::new(),
                allocated: 0,
                next,
                ended: false,
                unread: 0,
                stall: None,
                stalling: false,
                cut_off: false,
            }),
            Ok(_) => None,
            Err(_) => {
                // Either the stream is over, and then this does nothing, or the head is none of HTTP/2.
                respond.send_reset(Reason::INTERNAL_ERROR);
                None
            }
        }
    }

    /// Ready when all is given to the connection, or the stream is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.rest.is_empty() {
                if self.ticket.poll_room(cx).is_pending() {
                    return self.poll_unwritten(cx);
                }
                self.stream.reserve_capacity(self.rest.len());
                let mut room = self.stream.capacity();
                if room == 0 {
                    match self.stream.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(capacity))) => room = capacity,
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => return self.poll_stalled(cx),
                    }
                }
                match self.poll_send(room, cx) {
                    Poll::Ready(true) => return Poll::Ready(()),
                    Poll::Ready(false) => continue,
                    Poll::Pending => {
                        // What it has of the connection's window is for others, who may need it to make room.
                        self.stream.reserve_capacity(0);
                        return self.poll_unwritten(cx);
                    }
                }
            }
            let frame = match self.next.take() {
                Some(frame) => Some(frame),
                None if self.ended => None,
                None => match self.poll_body(cx) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => return self.stream.poll_reset(cx).map(drop),
                },
            };
            let Some(frame) = frame else {
                let _ = self.stream.send_data(Payload::end(self.guard.take()), true);
                return Poll::Ready(());
            };
            match frame.into_data() {
                Ok(data) => {
                    self.allocated = data.len();
                    self.rest = data;
                }
                Err(frame) => {
                    self.send_trailers(frame.into_trailers().unwrap_or_default());
                    return Poll::Ready(());
                }
            }
            // Whether this was the last frame is often known by now: then END_STREAM needs no frame of its own, and the guard
            // goes with the last bytes.
            if !self.rest.is_empty()
                && !self.ended
                && let Poll::Ready(next) = self.poll_body(cx)
            {
                self.next = next;
            }
        }
    }

    /// Sends of `rest` what there is room for, unless the connection's backlog is full; whether the stream is over with it.
    fn poll_send(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<bool> {
        let whole = room >= self.rest.len();
        let last = whole && if let Some(next) = &self.next { next.is_trailers() } else { self.ended };
        let load = ready!(self.ticket.poll_load(room.min(self.rest.len()), last, cx));
        self.stalling = false;
        let chunk = if whole { mem::take(&mut self.rest) } else { self.rest.split_to(room) };
        // A small part of a large message would hold the memory of all of it until it is written, whatever becomes of the rest.
        let small = chunk.len().saturating_mul(PART) < self.allocated;
        let chunk = if small { Bytes::copy_from_slice(&chunk) } else { chunk };
        if whole && self.unread > 0 {
            self.unread = 0;
            // Less than before can't be too much.
            let _ = self.guard.as_ref().map(|guard| guard.unread(0));
        }
        let end = last && self.next.is_none();
        let guard = if last { self.guard.take() } else { self.guard.clone() };
        let sent = self.stream.send_data(Payload::new(chunk, load, guard), end).is_ok();
        Poll::Ready(end || !sent)
    }

    /// Waits for the connection to write, which it does as the client reads. The client has its time anew whenever others
    /// were let through: an answer in a long line is not to be ended for it.
    fn poll_unwritten(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.ticket.take_advanced() {
            self.stalling = false;
        }
        self.poll_stalled(cx)
    }

    /// Waits for the client to make room, as long as it may take for it.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(guard) = &self.guard else { return Poll::Ready(()) };
        // What waits takes no more than it counts for, and its copies together no longer than one of all.
        if self.rest.len() * 2 <= self.allocated {
            self.rest = Bytes::copy_from_slice(&self.rest);
            self.allocated = self.rest.len();
        }
        let unread = self.rest.len() + self.next.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len);
        if unread != self.unread {
            self.unread = unread;
            if let Err(trailers) = guard.unread(unread) {
                return self.refuse(trailers);
            }
        }
        if let Poll::Ready(trailers) = guard.poll_ended(cx) {
            return self.refuse(trailers);
        }
        if !self.stalling {
            self.stalling = true;
            let limit = sleep(guard.stall_limit());
            match &mut self.stall {
                Some(stall) => stall.set(limit),
                None => self.stall = Some(Box::pin(limit)),
            }
        }
        if let Some(stall) = &mut self.stall {
            ready!(stall.as_mut().poll(cx));
        }
        let trailers = guard.stalled();
        self.refuse(trailers)
    }

    /// Ends the answer by these trailers, which no window holds up; what waits is dropped.
    fn refuse(&mut self, trailers: HeaderMap) -> Poll<()> {
        self.rest = Bytes::new();
        self.next = None;
        let _ = self.guard.as_ref().map(|guard| guard.unread(0));
        self.stream.reserve_capacity(0);
        self.send_trailers(trailers);
        Poll::Ready(())
    }

    fn send_trailers(&mut self, trailers: HeaderMap) {
        if self.cut_off || self.guard.as_ref().is_some_and(|guard| guard.is_cut_off()) {
            self.stream.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        if self.stream.send_trailers(trailers).is_err() {
            // Either the stream is over, and then this does nothing, or the trailers are none of HTTP/2.
            self.stream.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| match frame {
            Some(Ok(frame)) => {
                // The guard may go with bytes that come before these trailers.
                self.cut_off |= frame.is_trailers() && self.guard.as_ref().is_some_and(|guard| guard.is_cut_off());
                Some(frame)
            }
            Some(Err(never)) => match never {},
            None => {
                self.ended = true;
                None
            }
        })
    }
}

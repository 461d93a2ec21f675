//! A request that can be made again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use http_body::Body as _;
use smallvec::SmallVec;
use tonic::body::Body;

use super::Buffers;
use super::buffers::BufferLease;
use super::replay::{BufferedFrame, ReplayBuffer};
use super::request_body::RequestBody;
use super::request_id::RequestIdRule;

/// Tells servers how many attempts there were before this one.
static PREVIOUS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// The head and the body of a call, for as many attempts as it takes.
pub(crate) struct Repeatable<'a> {
    parts: Parts,
    body: Content<'a>,
    id: Option<RequestIdRule>,
}

enum Content<'a> {
    Empty,
    Full(Bytes, #[expect(dead_code, reason = "counts while it lives")] BufferLease<'a>),
    Stream(ReplayBuffer),
}

impl<'a> Repeatable<'a> {
    /// Reads what is there of the body already, which is all of it for a call with one message. Nobody is woken for the rest:
    /// an attempt asks for it again. A request that is all there gets an id where `id` says so, before anything
    /// is sent of it.
    pub(crate) fn new(request: http::Request<Body>, buffers: &'a Arc<Buffers>, id: Option<RequestIdRule>) -> Self {
        let (mut parts, mut body) = request.into_parts();
        parts.headers.remove(&PREVIOUS);
        let body = Content::read(&mut body, &mut Context::from_waker(noop_waker_ref()), buffers, id.as_ref());
        Self { parts, body, id }
    }

    /// The request of an attempt after `previous` others, and the number of its reader.
    pub(super) fn attempt(&self, previous: u32) -> (usize, http::Request<RequestBody>) {
        let (reader, body) = match &self.body {
            Content::Empty => (0, RequestBody::Empty),
            Content::Full(bytes, _) => (0, RequestBody::Full(bytes.clone())),
            Content::Stream(buffer) => {
                let (reader, body) = buffer.reader();
                (reader, RequestBody::Replay(body))
            }
        };
        // Cloned for each attempt, the last too: until it is answered, any may turn out never to have reached the server, and
        // then follows another (a transparent retry); what was given to the connection doesn't come back.
        let mut request = http::Request::from_parts(self.parts.clone(), body);
        if previous > 0 {
            request.headers_mut().insert(&PREVIOUS, HeaderValue::from(previous));
        }
        (reader, request)
    }

    /// Whether no further attempt can be made.
    pub(super) fn is_spent(&self) -> bool {
        match &self.body {
            Content::Empty | Content::Full(..) => false,
            Content::Stream(buffer) => buffer.is_spent(),
        }
    }

    /// Whether a policy may repeat the call: where that needs a request id, one must be seen in what was read of the
    /// request.
    pub(super) fn may_repeat(&self) -> bool {
        let Some(rule) = self.id.filter(RequestIdRule::is_required) else { return true };
        match &self.body {
            Content::Empty => false,
            Content::Full(bytes, _) => rule.is_in(bytes),
            Content::Stream(buffer) => rule.is_in(&buffer.buffered()),
        }
    }

    /// Waits until the body commits the call to one attempt.
    pub(super) fn poll_committed(&self, cx: &mut Context<'_>) -> Poll<usize> {
        match &self.body {
            Content::Empty | Content::Full(..) => Poll::Pending,
            Content::Stream(buffer) => buffer.poll_committed(cx),
        }
    }

    /// The attempt with this reader is over. Whether the call is committed to it.
    pub(super) fn retire(&self, reader: usize) -> bool {
        match &self.body {
            Content::Empty | Content::Full(..) => false,
            Content::Stream(buffer) => buffer.retire(reader),
        }
    }

    /// Commits the call to the attempt with this reader, unless it is committed to another. Whether it is committed to it.
    pub(super) fn commit(&self, reader: usize) -> bool {
        match &self.body {
            Content::Empty | Content::Full(..) => true,
            Content::Stream(buffer) => buffer.commit(reader),
        }
    }
}

impl<'a> Content<'a> {
    fn read(body: &mut Body, cx: &mut Context<'_>, buffers: &'a Arc<Buffers>, id: Option<&RequestIdRule>) -> Self {
        let mut first: SmallVec<[BufferedFrame; 2]> = SmallVec::new();
        let mut failed = None;
        let mut ended = body.is_end_stream();
        // Two polls see the only message and the end after it; more could go on for ever.
        while !ended && first.len() < 2 {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    first.push(BufferedFrame::new(frame));
                    ended = body.is_end_stream();
                }
                Poll::Ready(Some(Err(status))) => {
                    failed = Some(status);
                    break;
                }
                Poll::Ready(None) => ended = true,
                Poll::Pending => break,
            }
        }
        if ended && first.is_empty() {
            return Self::Empty;
        }
        if ended && let [BufferedFrame::Data(bytes)] = first.as_slice() {
            let bytes = id.and_then(|rule| rule.filled(bytes)).unwrap_or_else(|| bytes.clone());
            if let Some(held) = BufferLease::new(buffers, bytes.len()) {
                return Self::Full(bytes, held);
            }
        }
        let source = if ended { None } else { Some(std::mem::take(body)) };
        Self::Stream(ReplayBuffer::new(buffers.clone(), first, source, failed))
    }
}

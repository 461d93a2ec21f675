//! A request on its way: what has come of it, and whether it is what its method takes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::codegen::StdError;
use tonic::{Code, Status};

use super::Domain;
use super::budget::{Account, Budgets, Caller, Hold, Resource};
use super::plan::Streams;
use super::request_size::too_large;
use crate::bodies::Framing;
use crate::errors::port::{MALFORMED_REQUEST, MESSAGE_TOO_LARGE, REQUEST_TIMED_OUT};
use crate::transport::header_list_size;

/// Above so many bytes a message grows by what is still to come of it, and not by doubling.
const LARGE: usize = 64 << 10;

/// What a request has to be.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct ArrivalRules {
    /// The most bytes of a message.
    pub max_message: usize,
    /// Of the errors.
    pub domain: Domain,
}

impl ArrivalRules {
    fn malformed(&self, code: Code, message: &str) -> Status {
        self.domain.refuse(code, MALFORMED_REQUEST.reason, message, &[])
    }

    /// The status of a request that did not come within `limit`.
    fn late(&self, limit: Duration) -> Status {
        let message = format!("the request did not come within {limit:?}; send its message in that time");
        REQUEST_TIMED_OUT.status(self.domain, message, &[])
    }
}

/// How much of a request has to be there before its call goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum RequestPart {
    /// Nothing: where both sides stream, the answer may have to begin first; and so where nobody knows.
    Nothing,
    /// The first message of a stream.
    FirstMessage,
    /// All of it: one message and no more.
    Whole,
}

impl RequestPart {
    /// That of a method that streams so.
    pub(in crate::server) fn of(streams: Option<Streams>) -> Self {
        match streams {
            None | Some(Streams { requests: true, answers: true }) => Self::Nothing,
            Some(Streams { requests: true, answers: false }) => Self::FirstMessage,
            Some(Streams { requests: false, .. }) => Self::Whole,
        }
    }
}

/// A request on its way.
pub(in crate::server) struct Arriving<A> {
    body: A,
    /// Whether there is to be one message and no more.
    one: bool,
    /// Whether messages may be compressed.
    encoded: bool,
    framing: Framing,
    chunks: Chunks,
    /// Whether what comes is copied: a slice of it would hold the whole buffer that it was read into.
    copied: bool,
    /// Set at the end of the stream, with the trailers if there are any.
    end: Option<Option<HeaderMap>>,
}

impl<A> Arriving<A> {
    /// Nothing of `body` has come yet, and `part` has to; its messages are as `headers` say.
    pub(in crate::server) fn new(body: A, headers: &HeaderMap, part: RequestPart) -> Self {
        let encoded = headers.get("grpc-encoding").is_some_and(|encoding| encoding != "identity");
        let one = part == RequestPart::Whole;
        Self { body, one, encoded, framing: Framing::default(), chunks: Chunks::None, copied: false, end: None }
    }

    /// The bytes that are held of it.
    pub(in crate::server) fn size(&self) -> usize {
        self.chunks.size()
    }
}

pin_project! {
    /// The wait for a request: it has a time, and the bytes that are here count in a budget.
    pub(in crate::server) struct ArrivalWait {
        within: Duration,
        #[pin]
        limit: Sleep,
        // What the call holds but for its messages.
        head: usize,
        hold: Option<Hold>,
    }
}

/// What a call that waits holds besides its headers: its stream and its future.
const WAITING: usize = 2 << 10;

/// About what the call that began with `parts` holds while it waits. What HTTP/2 counts of a header is half of what it takes.
pub(in crate::server) fn waiting_bytes(parts: &Parts) -> usize {
    WAITING + 2 * header_list_size(parts)
}

impl ArrivalWait {
    /// A wait of the call that began with `parts`, from now on and no longer than `within`.
    pub(in crate::server) fn new(parts: &Parts, within: Duration) -> Self {
        Self { within, limit: sleep(within), head: waiting_bytes(parts), hold: None }
    }

    /// Waits for `arriving`, whose headers and bytes `address` has of `budgets`. Ready when the call may go on, or with why it must not.
    pub(in crate::server) fn poll<A>(
        self: Pin<&mut Self>,
        arriving: &mut Arriving<A>,
        rules: ArrivalRules,
        budgets: &Budgets,
        address: Option<&Account>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Status>>
    where
        A: Body<Data = Bytes> + Unpin,
        A::Error: Into<StdError>,
    {
        let this = self.project();
        let polled = arriving.poll(rules, cx);
        if polled.is_ready() {
            return polled;
        }
        let size = *this.head + arriving.size();
        let counted = match this.hold {
            Some(hold) => hold.resize(size),
            None => {
                let caller = Caller { address, principal: None };
                budgets.take(Resource::ArrivingBytes, size, caller).map(|taken| *this.hold = Some(taken))
            }
        };
        if let Err(exceeded) = counted {
            return Poll::Ready(Err(exceeded.status(rules.domain)));
        }
        this.limit.poll(cx).map(|()| Err(rules.late(*this.within)))
    }
}

/// What has come.
#[derive(Debug)]
enum Chunks {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Chunks {
    /// Adds what has come of a message of which `left` bytes are still to come.
    fn push(&mut self, data: Bytes, left: usize) {
        let mut all = match std::mem::replace(self, Self::None) {
            Self::None => return *self = Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + data.len());
                all.extend_from_slice(&first);
                all
            }
            Self::Many(all) => all,
        };
        // By doubling, the buffer of a large message would be twice as large as the message.
        if all.len() >= LARGE {
            all.reserve(data.len() + left);
        }
        all.extend_from_slice(&data);
        *self = Self::Many(all);
    }

    /// The bytes that it takes.
    fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.capacity(),
        }
    }
}

impl<A> Arriving<A>
where
    A: Body<Data = Bytes> + Unpin,
    A::Error: Into<StdError>,
{
    /// Ready when the call may go on, or with why it must not.
    pub(in crate::server) fn poll(&mut self, rules: ArrivalRules, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        loop {
            if self.end.is_some() {
                return Poll::Ready(self.ended(rules));
            }
            if !self.one && self.framing.complete_messages() > 0 {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.end = Some(None),
                Some(Err(error)) => return Poll::Ready(Err(Status::from_error(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Err(status) = self.take(rules, data) {
                            return Poll::Ready(Err(status));
                        }
                        if self.body.is_end_stream() {
                            self.end = Some(None);
                        }
                    }
                    Err(frame) => self.end = Some(frame.into_trailers().ok()),
                },
            }
        }
    }

    /// From now on it is waited for, and holds no more than it counts for.
    pub(in crate::server) fn copy(&mut self) {
        self.copied = true;
        if let Chunks::One(bytes) = &mut self.chunks {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    }

    fn take(&mut self, rules: ArrivalRules, data: Bytes) -> Result<(), Status> {
        if data.is_empty() {
            return Ok(());
        }
        let read = self.framing.read(&data, rules.max_message);
        match self.framing.highest_flag() {
            // gRPC's document on compression asks for INTERNAL.
            Some(1) if !self.encoded => {
                let message = "a message is marked as compressed, and grpc-encoding doesn't say how";
                return Err(rules.malformed(Code::Internal, message));
            }
            Some(flag) if flag > 1 => {
                let message = "a message begins with neither 0 nor 1: it has no prefix of gRPC";
                return Err(rules.malformed(Code::InvalidArgument, message));
            }
            _ => {}
        }
        read.map_err(|length| too_large(rules.domain, length, rules.max_message))?;
        let data = if self.copied { Bytes::copy_from_slice(&data) } else { data };
        self.chunks.push(data, self.framing.left());
        let more =
            self.framing.complete_messages() > 1 || self.framing.complete_messages() == 1 && !self.framing.between();
        if self.one && more {
            // gRPC's document on status codes asks for it, and so below.
            let message = "the method takes one message, and there are more";
            return Err(rules.malformed(Code::Unimplemented, message));
        }
        Ok(())
    }

    fn ended(&self, rules: ArrivalRules) -> Result<(), Status> {
        if !self.framing.between() {
            return Err(rules.malformed(Code::InvalidArgument, "the request ended in the middle of a message"));
        }
        if self.one && self.framing.complete_messages() == 0 {
            return Err(rules.malformed(Code::Unimplemented, "the method takes one message, and there is none"));
        }
        Ok(())
    }

    pub(in crate::server) fn arrived(self) -> Arrived<A> {
        let first = match self.chunks {
            Chunks::None => Bytes::new(),
            Chunks::One(bytes) => bytes,
            Chunks::Many(bytes) => bytes.freeze(),
        };
        let rest = match self.end {
            None => Rest::Body { body: self.body },
            Some(trailers) => Rest::Trailers { trailers },
        };
        Arrived { first, rest }
    }
}

pin_project! {
    /// A request whose first message is there; of a method that takes one message, all of it is.
    #[derive(Debug)]
    pub struct Arrived<A> {
        first: Bytes,
        #[pin]
        rest: Rest<A>,
    }
}

pin_project! {
    #[project = RestProjection]
    #[derive(Debug)]
    enum Rest<A> {
        Body { #[pin] body: A },
        Trailers { trailers: Option<HeaderMap> },
    }
}

impl<A: Body<Data = Bytes>> Body for Arrived<A> {
    type Data = Bytes;
    type Error = A::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let this = self.project();
        if !this.first.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.first)))));
        }
        match this.rest.project() {
            RestProjection::Body { body } => body.poll_frame(cx),
            RestProjection::Trailers { trailers } => Poll::Ready(trailers.take().map(|all| Ok(Frame::trailers(all)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty()
            && match &self.rest {
                Rest::Body { body } => body.is_end_stream(),
                Rest::Trailers { trailers } => trailers.is_none(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::Body { .. } => SizeHint::default(),
            Rest::Trailers { .. } => SizeHint::with_exact(self.first.len() as u64),
        }
    }
}

/// The status for a message that could not be decoded, if that is why there is `response`. The services that tonic generates
/// answer INTERNAL, which tells clients that the server is broken, and no caller may make it look so. For a message that is larger
/// than the service takes they have other words than the server has, without details.
pub(in crate::server) fn undecodable<B>(response: &Response<B>, domain: Domain) -> Option<Status> {
    let status = response.extensions().get::<Status>()?;
    let too_large = match status.code() {
        Code::OutOfRange => status.message().starts_with("Error, decoded message length too large"),
        Code::ResourceExhausted => status.message().starts_with("Error decompressing: size limit"),
        _ => false,
    };
    if too_large {
        let message = "the request's message is larger than the method takes; send less at once";
        return Some(MESSAGE_TOO_LARGE.status(domain, message, &[]));
    }
    // By prost; and by tonic, of compressed messages.
    let decoding = status.message().starts_with("failed to decode Protobuf message")
        || status.message().starts_with("Error decompressing") && status.message().ends_with("while sending request");
    (status.code() == Code::Internal && decoding).then(|| {
        let message = "the request's message can't be decoded: it is not of the type that the method takes";
        MALFORMED_REQUEST.status(domain, message, &[])
    })
}

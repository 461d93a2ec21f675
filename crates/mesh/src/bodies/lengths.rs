//! How long the messages of a stream may be, by the policy of a method or by the channel.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::codegen::StdError;

use super::error::status_of;
use super::framing::Framing;
use crate::outcome::CallerFault;

/// Follows the messages of one direction of a call, and refuses the first that is longer than the policy or the channel
/// allows, at its length already. A message counts as it is sent: compressed, if it is.
#[derive(Debug)]
pub struct Lengths {
    limit: usize,
    direction: Direction,
    framing: Framing,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Request,
    Response,
}

impl Direction {
    /// What the messages are of, and which settings limit them.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Request => ("request", "maxRequestMessageBytes", "max_encoding_message_size"),
            Self::Response => ("response", "maxResponseMessageBytes", "max_decoding_message_size"),
        }
    }
}

impl Lengths {
    /// Of requests, `limit` in bytes.
    pub fn of_request(limit: usize) -> Self {
        Self { limit, direction: Direction::Request, framing: Framing::default() }
    }

    /// Of responses, `limit` in bytes.
    pub fn of_response(limit: usize) -> Self {
        Self { limit, direction: Direction::Response, framing: Framing::default() }
    }

    /// Reads on.
    ///
    /// # Errors
    /// When a message is too long: RESOURCE_EXHAUSTED.
    pub fn read(&mut self, data: &[u8]) -> Result<(), Status> {
        self.framing.read(data, self.limit).map_err(|length| {
            let (of, policy, channel) = self.direction.names();
            let mut status = Status::resource_exhausted(format!(
                "a {of} message has {length} bytes, and may have {}; {policy} of the policy or {channel} of the channel says \
                 so",
                self.limit
            ));
            status.set_source(Arc::new(CallerFault));
            status
        })
    }
}

pin_project! {
    /// A body whose messages may not be longer than a limit. One that is ends it with RESOURCE_EXHAUSTED, as the caller's own
    /// doing ([`CallerFault`]), since the limit is the caller's; what the body came from is dropped.
    #[derive(Debug)]
    pub struct LengthLimitedBody<B> {
        // None: refused.
        #[pin]
        inner: Option<B>,
        lengths: Lengths,
    }
}

impl<B> LengthLimitedBody<B> {
    /// Follows the messages of a request; `limit` is in bytes.
    pub fn request(inner: B, limit: usize) -> Self {
        Self { inner: Some(inner), lengths: Lengths::of_request(limit) }
    }

    /// Follows the messages of a response; `limit` is in bytes.
    pub fn response(inner: B, limit: usize) -> Self {
        Self { inner: Some(inner), lengths: Lengths::of_response(limit) }
    }
}

impl<B> Body for LengthLimitedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = Status;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        Poll::Ready(match ready!(inner.poll_frame(cx)) {
            Some(Ok(frame)) => match frame.data_ref().map_or(Ok(()), |data| this.lengths.read(data)) {
                Ok(()) => Some(Ok(frame)),
                Err(status) => {
                    this.inner.set(None);
                    Some(Err(status))
                }
            },
            Some(Err(error)) => Some(Err(status_of(error.into()))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;

    use super::*;
    use crate::outcome::Outcome;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.resize(5 + length, 0xff);
        bytes
    }

    #[test]
    fn messages_up_to_the_limit_pass_however_they_are_cut() {
        let stream: Vec<u8> = [0, 3, 10, 0, 0, 7, 10].into_iter().flat_map(message).collect();
        for size in 1..=stream.len() {
            let mut lengths = Lengths::of_response(10);
            for piece in stream.chunks(size) {
                lengths.read(piece).unwrap();
            }
            assert!(lengths.framing.between());
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused_at_its_length() {
        for size in 1..20 {
            let stream: Vec<u8> = [message(10), message(0), message(11)].concat();
            let mut lengths = Lengths::of_request(10);
            let mut read = 0;
            let status = stream.chunks(size).find_map(|piece| {
                read += piece.len();
                lengths.read(piece).err()
            });
            let status = status.unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(
                status.message(),
                "a request message has 11 bytes, and may have 10; maxRequestMessageBytes of the policy or \
                 max_encoding_message_size of the channel says so"
            );
            assert!(read < 25 + size, "{size}: read {read}");
        }
        assert!(Lengths::of_response(0).read(&[0, 0, 0, 0, 1]).is_err());
        assert!(Lengths::of_response(usize::MAX).read(&[0, 0xff, 0xff, 0xff, 0xff]).is_ok());
    }

    #[test]
    fn a_body_ends_at_the_message_that_is_too_long_by_its_caller() {
        let source = Arc::new(());
        let inside = Arc::clone(&source);
        let frames = [message(10), message(11), message(1)].into_iter().map(move |message| {
            let _source = &inside;
            Ok::<_, Status>(Frame::data(Bytes::from(message)))
        });
        let mut body = LengthLimitedBody::response(StreamBody::new(stream::iter(frames)), 10);
        assert!(body.frame().now_or_never().unwrap().unwrap().is_ok());
        let status = body.frame().now_or_never().unwrap().unwrap().unwrap_err();
        assert_eq!(Outcome::of_error(&status), Outcome::Caller(Code::ResourceExhausted));
        assert!(status.message().starts_with("a response message has 11 bytes, and may have 10;"), "{status}");
        assert_eq!(Arc::strong_count(&source), 1, "its source is dropped");
        assert!(body.is_end_stream() && body.frame().now_or_never().unwrap().is_none());
    }

    #[test]
    fn trailers_and_errors_pass() {
        let frames = [Ok(Frame::<Bytes>::trailers(http::HeaderMap::new())), Err(Status::data_loss("lost"))];
        let mut body = LengthLimitedBody::request(StreamBody::new(stream::iter(frames)), 0);
        assert!(body.frame().now_or_never().unwrap().unwrap().unwrap().is_trailers());
        let status = body.frame().now_or_never().unwrap().unwrap().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::DataLoss, "lost"));
    }
}
